"""An adapter as a plain folder of peft: `adapter_config.json`, `adapter_model.safetensors`.

The head lies in it too, so that whoever loads the folder has the trained one. The model folder
needs none of this: its weights contain what the adapter learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from lasttoken.durable import NewFolder, refuse_occupied, telling
from lasttoken.model.classifier import Classifier
from lasttoken.model.lora import Adapter, adapter_config

_README = """\
# LoRA adapter with its head

What was learned beside the weights of {name}; the model folder of the same run contains it already.
With peft, from the weights that training started from:

```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

base = AutoModelForSequenceClassification.from_pretrained(
    {base!r},
    num_labels={num_labels},
    num_hidden_layers={num_blocks},
)
model = PeftModel.from_pretrained(base, {folder!r}).merge_and_unload()
```

The tokenizer is that of the model folder, and so are the names of the labels, in this order:
{labels}.
"""


def save_adapter_folder(
    folder: Path, adapter: Adapter, classifier: Classifier, *, name: str
) -> None:
    """Write an adapter and the head as it is now; the folder appears complete or not at all.

    Args:
        folder: must not exist, or be empty.
        adapter: what was merged into the classifier.
        classifier: whose head goes with it.
        name: of the model that training started from.

    Raises:
        RunError: `folder` exists and is not empty, or it cannot be written.
    """
    refuse_occupied(folder)
    config: Any = classifier.hf_model.config
    head: Any = classifier.hf_model.score
    base = str(config.name_or_path)
    weights = {
        **{f"base_model.model.{key}": weight for key, weight in adapter.weights.items()},
        "base_model.model.score.weight": head.weight.detach().cpu().contiguous(),
    }
    readme = _README.format(
        name=name,
        base=base,
        folder=str(folder),
        num_labels=classifier.labels.num_logits,
        num_blocks=config.get_text_config().num_hidden_layers,
        labels=", ".join(map(repr, classifier.labels.labels)),
    )
    content = adapter_config(adapter, base).to_dict()  # type: ignore[no-untyped-call]
    with telling(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with NewFolder(folder) as new:
        new.write(
            "adapter_config.json",
            json.dumps(content, indent=2, sort_keys=True, default=list).encode(),
        )
        new.write("adapter_model.safetensors", safetensors.torch.save(weights, {"format": "pt"}))
        new.write("README.md", readme.encode())

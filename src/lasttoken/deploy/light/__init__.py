"""Exported classifiers at work without torch: onnxruntime, tokenizers and numpy are enough.

from lasttoken.deploy.light import LightClassifier

clf = LightClassifier.from_folder("runs/reviews/exported/onnx-int8")
clf.predict(["what a film"])
"""

from lasttoken.deploy.light.classifier import LightClassifier

__all__ = ["LightClassifier"]

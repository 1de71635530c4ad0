"""Which differences keep an export from being written: each alone is enough."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lasttoken.deploy.export.comparison import Comparison, expected_of, faults_of

MEGABYTE = 1_000_000
EQUAL = Comparison(
    texts="the run's test examples",
    num_texts=1_000,
    labels_equal=1.0,
    num_alone=50,
    alone_difference=0.0,
    largest_difference=1e-4,
    mean_difference=1e-6,
    largest_logit_difference=1e-4,
    accuracy=0.87,
    accuracy_interval=(0.85, 0.89),
    exported_accuracy=0.87,
    exported_accuracy_interval=(0.85, 0.89),
    num_probes=14,
    probes_difference=1e-4,
    milliseconds=60.0,
    exported_milliseconds=30.0,
    weights_bytes=500 * MEGABYTE,
    exported_bytes=500 * MEGABYTE,
)
NEAR = replace(
    EQUAL,
    labels_equal=0.98,
    largest_difference=0.3,
    mean_difference=0.01,
    largest_logit_difference=0.2,
    exported_accuracy=0.86,
    probes_difference=0.3,
    exported_bytes=175 * MEGABYTE,
)


def test_what_just_suffices_may_be_written() -> None:
    assert faults_of(EQUAL, "onnx") == []
    assert faults_of(NEAR, "onnx-int8") == []
    assert faults_of(replace(NEAR, exported_accuracy=0.88), "onnx-int8") == []
    numbers = replace(EQUAL, labels_equal=None, accuracy=None, exported_accuracy=None,
                      probes_difference=None)  # fmt: skip
    assert faults_of(numbers, "onnx") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"largest_difference": 1.1e-4}, "a score differs by 0.00011"),
        ({"largest_logit_difference": 1.1e-4}, "a logit differs by 0.00011"),
        ({"probes_difference": 1.1e-4}, "a score of an unusual text differs by 0.00011"),
        ({"alone_difference": 1.1e-4}, "a text's score differs by 0.00011 alone and in a batch"),
        ({"labels_equal": 0.979}, "97.9% of the labels are equal"),
        ({"exported_accuracy": 0.881}, "accuracy differs by +1.1 points"),
        ({"mean_difference": math.nan}, "a score is no number"),
    ],
)
def test_each_difference_of_fp32_alone_is_enough(change: dict, fault: str) -> None:
    assert faults_of(replace(EQUAL, **change), "onnx") == [fault]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"labels_equal": 0.979}, "97.9% of the labels are equal"),
        ({"exported_accuracy": 0.859}, "accuracy differs by -1.1 points"),
        ({"alone_difference": 1.1e-3}, "a text's score differs by 0.0011 alone and in a batch"),
        ({"exported_bytes": 177 * MEGABYTE}, "0.35 of the weights in fp32"),
        ({"probes_difference": math.inf}, "a score is no number"),
    ],
)
def test_each_difference_of_8_bits_alone_is_enough(change: dict, fault: str) -> None:
    assert faults_of(replace(NEAR, **change), "onnx-int8") == [fault]


def test_what_is_expected_names_the_thresholds() -> None:
    assert expected_of("onnx") == "every score and logit within 0.0001 of the model's in torch"
    assert expected_of("onnx-int8") == (
        "98% of the labels equal, accuracy within 1 point, the same answer alone and in a batch, "
        "and a size of at most 0.35 of the weights in fp32"
    )

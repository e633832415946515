"""Fine-tuning a head without a training framework: its chain rule, and the committed results."""

import json
import sys

import numpy as np

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(EXAMPLES))  # where a user's `python examples/...` finds its helpers

import finetune_head as example  # noqa: E402


def test_chain_rule_is_the_slope_of_the_decoded_head() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 1, (1, 8, 3))
    raw[0, 2, 0] = example.LARGEST + 1
    heads, kept = example.decoded(raw)
    boxes = np.asarray(rng.normal(size=heads["box_logits"].shape))
    classes = np.asarray(rng.normal(size=heads["class_logits"].shape))
    found = example.pulled(boxes, classes, kept)

    def total(moved: np.ndarray) -> float:
        heads, _ = example.decoded(moved)
        return float((boxes * heads["box_logits"]).sum() + (classes * heads["class_logits"]).sum())

    for place in np.ndindex(raw.shape):
        step = np.zeros_like(raw)
        step[place] = 1e-6
        slope = (total(raw + step) - total(raw - step)) / 2e-6
        np.testing.assert_allclose(found[place], slope, rtol=1e-6, atol=1e-8)


def test_logit_is_that_of_the_product_of_both_probabilities() -> None:
    raw = np.linspace(-6, 6, 8).reshape(1, 8, 1)
    seen, named = (1 / (1 + np.exp(-raw[:, part])) for part in (slice(4, 5), slice(5, 8)))
    logits = example.decoded(raw)[0]["class_logits"]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), seen * named, rtol=1e-12)


def test_committed_results_show_the_gain_of_the_plot() -> None:
    results = json.loads((EXAMPLES / "results/finetune/results.json").read_text())
    assert results["AP"]["after"] > results["AP"]["before"] + 0.2
    assert results["loss"]["after"] < 0.6 * results["loss"]["before"]
    held_out = results["curves"]["held out"]
    assert [held_out[0][1], held_out[-1][1]] == list(results["loss"].values())
    assert f"{results['AP']['after']:.3f}" in (EXAMPLES / "results/finetune/curves.svg").read_text()
    assert f"{results['AP']['after']:.3f}" in (EXAMPLES / "README.md").read_text()

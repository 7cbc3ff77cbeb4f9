"""The part of `inference.json` between probabilities and mask: classes, without components that are no findings.

What predict does is said here in expressions that MONAI evaluates; see `segpipe.inference.window.decision` and
`segpipe.inference.postprocess`.
"""

from typing import Any

from segpipe.export.export_spec import Release

# Tools that run the network by themselves, as MONAI Label does, hand over its logits.
_SOFTMAX = "$lambda pred: pred.softmax(0)[1:] if len(pred) > {classes} else pred"
_SIGMOID = "$lambda pred: pred if ((pred >= 0) & (pred <= 1)).all() else pred.sigmoid()"
_LARGEST = (
    "pred[:1] * 0 + torch.where("
    "(ok := pred >= torch.tensor({thresholds})[:, None, None, None] * (1 - pred.sum(0, keepdim=True) + pred))"
    ".any(0, keepdim=True), torch.where(ok, pred, -1.0).argmax(0, keepdim=True) + 1, 0)"
)
_INNERMOST = (
    "pred[:1] * 0 + torch.tensor({values})["
    "(pred >= torch.tensor({thresholds})[:, None, None, None]).long().cumprod(0).sum(0, keepdim=True)]"
)
_NUMBERS = "(numbers := ndimage.label({inside}, np.ones((3, 3, 3)))[0])"
_COUNTS = "np.bincount(numbers.ravel())"


def to_probabilities(release: Release) -> dict[str, Any]:
    """Makes probabilities of what may be logits."""
    classes = len(release.recipe.label_map.classes)
    return _on_pred(_SOFTMAX.format(classes=classes) if release.exclusive else _SIGMOID)


def to_mask(release: Release) -> list[dict[str, Any]]:
    """Makes the mask of the probabilities of the classes, on the scan's own grid."""
    rules = [_on_pred(rule) for rule in cleaning_rules(release)]
    if not release.class_points:
        return [*rules, {"_target_": "AsDiscreted", "keys": "pred", "threshold": release.threshold}]
    if not rules:
        return [_on_pred(f"$lambda pred: {_label_map(release)}")]
    with_probabilities = f"$lambda pred: torch.cat([{_label_map(release)}, pred])"
    return [_on_pred(with_probabilities), *rules, _on_pred("$lambda pred: pred[:1]")]


def cleaning_rules(release: Release) -> list[str]:
    """Expressions that take components without enough volume or confidence, or away from a VOI's middle, out of `pred`.

    Of one class `pred` is its probability; of several it is the label map and, behind it, the probability of each.
    """
    return _rules_of_classes(release) if release.class_points else _rules_of_one(release)


def _rules_of_one(release: Release) -> list[str]:
    """Component 0 is the background, whose probabilities are below the threshold whether they stay or not."""
    rules = _rules_of_point(release.min_volume_mm3, release.min_probability, channel=0)
    if release.recipe.scope == "voi":
        rules.append(_nearest())
    numbers = _NUMBERS.format(inside=f"np.asarray(pred[0]) >= {release.threshold}")
    return [f"$lambda pred: pred * torch.as_tensor({rule})[None] if {numbers}.any() else pred" for rule in rules]


def _rules_of_classes(release: Release) -> list[str]:
    """Inner regions first: where one goes, the region around it is left, and a region goes with all that is in it."""
    labels, rules = release.recipe.label_map, []
    for number, label in reversed(list(enumerate(labels.classes))):
        point = release.class_points[label.name]
        least = (float(point.get(key, 0.0)) for key in ("min_volume_mm3", "min_probability"))
        own = " & ".join(_rules_of_point(*least, channel=number + 1))
        if own:
            numbers = _NUMBERS.format(inside=f"np.isin(np.asarray(pred[0]), {list(label.values)})")
            left = labels.classes[number - 1].value if number and not labels.exclusive else 0
            gone = f"torch.as_tensor(({numbers} > 0) & ~({own}))[None]"
            rules.append(f"$lambda pred: torch.cat([pred[:1].masked_fill({gone}, {left}), pred[1:]])")
    if release.recipe.scope == "voi":
        numbers = _NUMBERS.format(inside="np.asarray(pred[0]) > 0")
        kept = f"torch.cat([pred[:1] * torch.as_tensor({_nearest()})[None], pred[1:]])"
        rules.append(f"$lambda pred: {kept} if {numbers}.any() else pred")
    return rules


def _rules_of_point(min_volume_mm3: float, min_probability: float, *, channel: int) -> list[str]:
    """Which voxels are in a component that is large and sure enough, by the `numbers` of components."""
    rules = []
    if min_volume_mm3 > 0:
        rules.append(f"({_COUNTS} * float(pred.pixdim.prod()) >= {min_volume_mm3} - 1e-6)[numbers]")
    if min_probability > 0:
        means = f"np.bincount(numbers.ravel(), np.asarray(pred[{channel}]).ravel()) / {_COUNTS}"
        rules.append(f"({means} >= {min_probability})[numbers]")
    return rules


def _nearest() -> str:
    """Which voxels are in the component nearest to the middle of a VOI."""
    middle = "(np.array(numbers.shape) - 1) / 2"
    distance = f"lambda place: np.linalg.norm((place - {middle}) * np.asarray(pred.pixdim))"
    return f"numbers == numbers[tuple(min(np.argwhere(numbers), key={distance}))]"


def _label_map(release: Release) -> str:
    """From the probabilities of several classes to their label map."""
    labels = release.recipe.label_map
    thresholds = [float(release.class_points[label.name].get("threshold", 0.5)) for label in labels.classes]
    values = [0, *(label.value for label in labels.classes)]
    return (_LARGEST if release.exclusive else _INNERMOST).format(thresholds=thresholds, values=values)


def _on_pred(function: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": "pred", "func": function}

"""All four frameworks for one target, best first, each with reasons for and against in plain words."""

from collections.abc import Mapping

from msgspec import structs

from engine.advice.catalogue import Catalogue, Claims
from engine.advice.records import Answer, Ranked
from engine.advice.target import Target
from engine.advice.tree import FRAMEWORKS, Leaf

_DOTS = ("none", "basic", "good", "excellent")


def rank(
    catalogue: Catalogue,
    leaf: Leaf,
    answers: Mapping[str, Answer],
    target: Target,
    refusals: Mapping[str, str],
) -> tuple[Ranked, ...]:
    """The ranking: what runs before what does not, the tree's two choices before the others, then by score.

    `refusals` are the frameworks that cannot take the model, with the reasons.
    """
    ranked = [_refused(_rate(catalogue, name, leaf, answers, target), refusals.get(name)) for name in FRAMEWORKS]

    def place(entry: Ranked) -> tuple[bool, bool, bool, float]:
        return (
            not entry.runs,
            entry.framework != leaf.framework,
            entry.framework != leaf.secondary,
            -entry.score,
        )

    return tuple(sorted(ranked, key=place))


def _refused(ranked: Ranked, reason: str | None) -> Ranked:
    if reason is None:
        return ranked
    return structs.replace(ranked, runs=False, reasons_against=(reason, *ranked.reasons_against))


def _rate(
    catalogue: Catalogue,
    name: str,
    leaf: Leaf,
    answers: Mapping[str, Answer],
    target: Target,
) -> Ranked:
    entry, weights = catalogue.frameworks[name], catalogue.weights
    score, runs = 0.0, True
    pro, con = list(entry.strengths), list[str]()
    if name == leaf.framework:
        score += weights.leaf
        pro.insert(0, "The tree's choice for these answers.")
    elif name == leaf.secondary:
        score += weights.secondary
        pro.insert(0, "The tree's second choice for these answers.")
    score += _rate_platform(catalogue, name, answers, pro)
    score += _rate_order(catalogue, name, answers, pro, con)
    for question, answer in answers.items():
        for row, weight in weights.answers.get(f"{question}={answer.value}", {}).items():
            dots = entry.dots.get(row, 0)
            score += weight * dots
            note = f" ({entry.notes[row]})" if row in entry.notes else ""
            (pro if dots >= 2 else con).append(f"{catalogue.rows[row].capitalize()}: {_DOTS[dots]}{note}.")
    for rule in catalogue.rules:
        if rule.framework == name and target.matches(rule):
            score += rule.score
            runs = runs and rule.runs
            pro.extend([rule.reason_for] if rule.reason_for else [])
            con.extend([rule.reason_against] if rule.reason_against else [])
    return Ranked(
        framework=name,
        title=entry.title,
        score=round(score, 2),
        runs=runs,
        reasons_for=tuple(dict.fromkeys(pro)),
        reasons_against=tuple(dict.fromkeys(con)),
        claims=_claim(entry.claims),
    )


def _rate_platform(catalogue: Catalogue, name: str, answers: Mapping[str, Answer], pro: list[str]) -> float:
    platform = catalogue.platforms.get(answers["platform"].value) if "platform" in answers else None
    if platform is None:
        return 0.0
    if name == platform.primary:
        pro.append(f"First choice for {platform.title} in the platform matrix.")
        return catalogue.weights.primary
    if name == platform.second:
        pro.append(f"Second choice for {platform.title} in the platform matrix.")
        return catalogue.weights.second
    return 0.0


def _rate_order(
    catalogue: Catalogue, name: str, answers: Mapping[str, Answer], pro: list[str], con: list[str]
) -> float:
    setting = answers["setting"].value if "setting" in answers else ""
    order = catalogue.orders.get(setting, ())
    if name not in order:
        return 0.0
    position = order.index(name)
    if position == 0:
        pro.append(f"First in the order for {_SETTINGS.get(setting, setting)}.")
    elif position == len(order) - 1:
        con.append(f"Last in the order for {_SETTINGS.get(setting, setting)}.")
    return catalogue.weights.order * (len(order) - 1 - position)


_SETTINGS = {"prototype": "rapid prototyping", "enterprise": "enterprise production"}


def _claim(claims: Claims) -> str:
    return f"claimed: {claims.quantization}, memory {claims.memory}, speed-up {claims.speed_up}; use: {claims.use}"

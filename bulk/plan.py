"""What a run is to do, and whether an output folder has a part of it done already."""

from __future__ import annotations

from pathlib import Path

import msgspec

from api.request import Precision
from bulk.listing import Listing, write_listing

LISTING, PLAN = "photographs.txt", "run.json"


class RunError(RuntimeError):
    """The run cannot go on. The message says what to change."""


class Plan(msgspec.Struct, frozen=True):
    """What makes two runs the same, in :data:`PLAN` in the output folder."""

    sha256: str
    photographs: int
    shard: int
    model: str
    explain: Precision | None


def prepare(source: Path, output: Path, shard: int, model: str, explain: Precision | None) -> Listing:
    """The listing of a run in ``output``, new or begun earlier.

    Raises:
        ListingError: there are no photographs.
        RunError: the folder has results of other photographs, of another model or of other options.
    """
    output.mkdir(parents=True, exist_ok=True)
    listing_file, plan_file = output / LISTING, output / PLAN
    fresh = output / f"{LISTING}.new"
    try:
        write_listing(source, fresh)
        listing = Listing.of(fresh, shard)
        plan = Plan(listing.sha256, listing.count, shard, model, explain)
        if plan_file.exists():
            try:
                before = msgspec.json.decode(plan_file.read_bytes(), type=Plan)
            except msgspec.MsgspecError as error:
                raise RunError(f"{plan_file} is damaged ({error}): use another --output") from None
            if before != plan:
                names = [f for f in Plan.__struct_fields__ if getattr(before, f) != getattr(plan, f)]
                raise RunError(
                    f"{output} has results of another run ({_differences(names)} differ): use another --output, or "
                    "delete it"
                )
        elif any(output.glob("part-*.parquet")):
            raise RunError(f"{output} has Parquet files of something else: use another --output")
        fresh.replace(listing_file)
    finally:
        fresh.unlink(missing_ok=True)
    if not plan_file.exists():
        partial = plan_file.with_name(f"{PLAN}.partial")
        partial.write_bytes(msgspec.json.encode(plan))
        partial.replace(plan_file)
    return Listing(listing_file, listing.count, shard, listing.offsets, listing.sha256)


def _differences(names: list[str]) -> str:
    words = {"sha256": "the photographs", "photographs": "their number", "shard": "--shard", "explain": "--explain"}
    return ", ".join(words.get(name, f"the {name}") for name in names)

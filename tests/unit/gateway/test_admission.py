"""Rooms with so many places and so many bytes."""

from __future__ import annotations

import pytest

from api.request import ContractError
from gateway.admission import Room


def test_places_are_bounded_and_free_again():
    room = Room("explanations", 2, 100)
    first, second = room.enter(), room.enter()
    with pytest.raises(ContractError, match="too many explanations") as refusal:
        room.enter()
    assert refusal.value.status == 503
    first.leave()
    first.leave()  # once is enough
    with room.enter():
        assert room.taken == 2
    second.leave()
    assert room.taken == room.held == 0


def test_bytes_are_bounded_together_and_free_again():
    room = Room("photographs", 9, 100)
    with room.enter(60) as place:
        with pytest.raises(ContractError):
            room.enter(41)
        assert (room.taken, room.held) == (1, 60), "who is refused takes nothing"
        place.hold(30)  # less than it has
        assert room.held == 60
        with room.enter() as other:
            other.hold(40)
            with pytest.raises(ContractError):
                other.hold(41)
        place.hold(100)
    assert room.taken == room.held == 0


def test_a_place_beside_is_left_with_the_other_and_not_kept_where_the_room_is_full():
    room, beside = Room("guests", 1, 10), Room("friends", 2, 10, status=429)
    place = room.enter(4, beside)
    assert (beside.taken, beside.held) == (1, 4)
    with pytest.raises(ContractError) as full:
        room.enter(1, beside)
    assert full.value.status == 503 and (beside.taken, beside.held) == (1, 4)
    place.leave()
    place.leave()
    assert (room.taken, room.held, beside.taken, beside.held) == (0, 0, 0, 0)
    beside.enter()
    beside.enter()
    with pytest.raises(ContractError) as limited:
        room.enter(1, beside)
    assert limited.value.status == 429 and room.taken == 0

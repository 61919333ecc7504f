"""What hosts hold, in numbers that somebody worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cf_infra import capacity
from cf_infra.capacity import Demand, Shape, SliceFault
from cf_infra.model import Host, Stack


def host(name: str = "h", gpus: list[Any] | None = None, **values: Any) -> Host:
    base: dict[str, Any] = {"name": name, "vcpus": 48, "memory_gib": 512, "disk_gib": 2000}
    groups = [{"model": "t4", "iommu_group": g} if isinstance(g, int) else g for g in gpus or []]
    return Host.model_validate({**base, "gpus": groups, **values})


def stack(*hosts: Host, **offer: Any) -> Stack:
    return Stack.model_validate(
        {
            "version": 1,
            "kind": "openstack",
            "donor": {"name": "x"},
            "hosts": [h.model_dump() for h in hosts],
            "offers": {"c": {"via": "direct", "mode": "dedicated", **offer}},
        }
    )


def shape(*hosts: Host, **offer: Any) -> Shape | None:
    made = stack(*hosts, **offer)
    return capacity.shape(made, made.offers["c"])


def test_an_eighth() -> None:
    """The contract's example: 48 vCPUs, 512 GiB with 32 reserved, 8 GPUs in 8 groups."""
    assert shape(host(gpus=[*range(8)], reserved={"memory_gib": 32}), slice="1/8") == Shape(1, 6, 61_440, 250)


def test_rounded_down() -> None:
    """Whole vCPUs, whole MiB, whole GiB of disk."""
    odd = host(vcpus=50, memory_gib=500, disk_gib=999, reserved={"vcpus": 1})
    assert shape(odd, slice="1/7") == Shape(0, 7, 73_142, 142)
    assert shape(odd, slice="3/7") == Shape(0, 21, 219_428, 428)


def test_v100_server() -> None:
    """Six cards in four groups: 1/8 is an error, {gpus: 1} fits four times."""
    cards = [19, 19, 32, 75, 87, 87]
    v100 = host(gpus=cards, memory_gib=500)
    assert len(capacity.usable_gpus(v100)) == 4
    with pytest.raises(SliceFault, match="4 usable GPU groups; 1/8 of them is 4/8"):
        shape(v100, slice="1/8")
    one = shape(v100, slice={"gpus": 1, "vcpus": 8, "memory_gib": 64, "disk_gib": 100})
    assert one == Shape(1, 8, 65_536, 100)
    assert capacity.total(v100).fits(one) == 4


@pytest.mark.parametrize(
    ("gpus", "usable"),
    [
        ([], 0),
        ([1, 2, 2], 2),
        ([{"model": "a", "iommu_group": 1, "broken": True}], 0),
        ([{"model": "a", "iommu_group": 1, "broken": True}, {"model": "a", "iommu_group": 1}], 1),
        ([{"model": "a"}, {"model": "a"}], 2),
        ([0, {"model": "a"}], 2),
    ],
)
def test_usable_gpus(gpus: list[Any], usable: int) -> None:
    assert len(capacity.usable_gpus(host(gpus=gpus))) == usable


def test_reserved_is_never_less_than_nothing() -> None:
    assert capacity.total(host(reserved={"vcpus": 100, "memory_gib": 1000, "disk_gib": 3000})) == Shape(
        0, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ([], "the stack has no hosts"),
        ([host(vcpus=3)], "is 0 vCPUs, 131,072 MiB, 500 GiB disk, which is no machine"),
        ([host("a"), host("b", vcpus=40)], "1/4 of a is 12 vCPUs, .* but of b it is 10 vCPUs"),
        ([host("a", gpus=[1, 2]), host("b")], "a has 2 usable GPU groups; 1/4 of them is 2/4"),
    ],
)
def test_cannot_be_cut(hosts: list[Host], why: str) -> None:
    with pytest.raises(SliceFault, match=why):
        shape(*hosts, slice="1/4")


def test_hosts_that_an_offer_names() -> None:
    hosts = (host("a"), host("b", vcpus=40))
    assert shape(*hosts, slice="1/4", hosts=["b"]) == Shape(0, 10, 131_072, 500)
    named = stack(*hosts, hosts=["b", "all"])
    assert [h.name for h in capacity.hosts_of(named, named.offers["c"])] == ["a", "b"]


def test_gpu_model() -> None:
    mixed = stack(host("a", gpus=[1]), host("b", gpus=[{"model": "l4"}]), slice="1/1")
    with pytest.raises(SliceFault, match="several models: l4, t4"):
        capacity.gpu_model(mixed, mixed.offers["c"])
    one = stack(host("a", gpus=[1]), host("b", gpus=[{"model": "l4"}]), hosts=["b"])
    assert capacity.gpu_model(one, one.offers["c"]) == "l4"
    none = stack(host("a"))
    assert capacity.gpu_model(none, none.offers["c"]) is None
    assert capacity.shape(none, none.offers["c"]) is None


def test_words() -> None:
    assert capacity.words(Shape(1, 6, 61_440, 250)) == "1 GPU, 6 vCPUs, 61,440 MiB, 250 GiB disk"
    assert capacity.words(Shape(2, 1, 1024, 1)) == "2 GPUs, 1 vCPUs, 1,024 MiB, 1 GiB disk"
    assert capacity.words(Shape(0, 1, 1024, 1)) == "1 vCPUs, 1,024 MiB, 1 GiB disk"
    assert capacity.words_of_host(host(gpus=[1, 1])) == "1 GPU group, 48 vCPUs, 524,288 MiB, 2,000 GiB disk"
    assert capacity.words_of_host(host(gpus=[1, 2])).startswith("2 GPU groups, ")
    assert capacity.words_of_host(host()).startswith("48 vCPUs, ")


def test_short_of() -> None:
    left = Shape(0, 4, 1024, 0)
    assert left.short_of(Shape(1, 4, 2048, 1)) == ["GPU groups", "memory", "disk"]
    assert left.short_of(Shape(0, 5, 1, 0)) == ["vCPUs"]


def test_fits() -> None:
    assert Shape(8, 48, 491_520, 2000).fits(Shape(1, 6, 61_440, 250)) == 8
    assert Shape(8, 48, 491_520, 2000).fits(Shape(0, 48, 1, 1)) == 1
    assert Shape(0, 48, 491_520, 2000).fits(Shape(1, 1, 1, 1)) == 0
    assert Shape(1, 1, 1, 1).fits(Shape(0, 0, 0, 0)) == 0


# ------------------------------------------------------------------------------------------------ placement

ONE = Shape(1, 1, 1024, 1)
BIG = Shape(4, 1, 1024, 1)


def test_in_the_order_of_the_file() -> None:
    demands = [Demand("c", 0, 5, ONE, ("a",)), Demand("c", 1, 4, ONE, ("a",))]
    placement = capacity.place([host("a", gpus=[*range(8)])], demands)
    assert placement.placed == {"0:c": {"a": 5}, "1:c": {"a": 3}}
    assert placement.unplaced == [(demands[1], 1)]
    assert placement.left["a"].gpus == 0


def test_biggest_first_where_the_order_wastes() -> None:
    hosts = [host("a", gpus=[*range(4)]), host("b", gpus=[*range(5)])]
    demands = [Demand("c", 0, 1, ONE, ("a", "b")), Demand("d", 1, 2, BIG, ("a", "b"))]
    placement = capacity.place(hosts, demands)
    assert placement.unplaced == []
    assert placement.placed == {"1:d": {"a": 1, "b": 1}, "0:c": {"b": 1}}


def test_most_bound_first_where_size_says_nothing() -> None:
    hosts = [host("a", gpus=[1, 2]), host("b", gpus=[3, 4])]
    demands = [Demand("c", 0, 2, ONE, ("a", "b")), Demand("d", 1, 2, ONE, ("a",))]
    placement = capacity.place(hosts, demands)
    assert placement.unplaced == []
    assert placement.placed == {"1:d": {"a": 2}, "0:c": {"b": 2}}


def test_one_grant_with_two_classes_has_two_demands() -> None:
    demands = [Demand("c", 0, 1, ONE, ("a",)), Demand("d", 0, 2, ONE, ("a",))]
    placement = capacity.place([host("a", gpus=[*range(8)])], demands)
    assert placement.placed == {"0:c": {"a": 1}, "0:d": {"a": 2}}


def test_room() -> None:
    placement = capacity.place(
        [host("a", gpus=[1, 2]), host("b", gpus=[3])], [Demand("p", None, 1, ONE, ("a",))]
    )
    assert placement.placed == {"pool:p": {"a": 1}}
    assert placement.room_for(ONE, ["a", "b", "elsewhere"]) == 2
    assert placement.room_for(BIG, ["a"]) == 0


def test_a_host_that_is_not_there_holds_nothing() -> None:
    demand = Demand("c", 0, 1, ONE, ("elsewhere",))
    assert capacity.place([host("a", gpus=[1])], [demand]).unplaced == [(demand, 1)]

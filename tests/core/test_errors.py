from unpaired.core.errors import named_by_flags, option


def test_flags_that_are_on_or_off_are_named_as_they_are_typed() -> None:
    with named_by_flags({"detail": "--detail"}):
        assert (option("detail", False), option("detail", True)) == ("--no-detail", "--detail")
    assert option("detail", False) == "detail = False"

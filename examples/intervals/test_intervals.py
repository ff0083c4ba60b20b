"""The tests of intervals."""

# ruff: noqa: PT009 - unittest runs them, and shows what differs

import unittest

from intervals import merge, total


class Merge(unittest.TestCase):
    """What `merge` makes of meetings of a day, in hours."""

    def test_apart(self) -> None:
        self.assertEqual(merge([(13, 14), (9, 10)]), [(9, 10), (13, 14)])

    def test_overlapping(self) -> None:
        self.assertEqual(merge([(9, 11), (10, 12), (12, 13)]), [(9, 13)])

    def test_one_within_the_other(self) -> None:
        self.assertEqual(merge([(9, 17), (10, 11)]), [(9, 17)])

    def test_total(self) -> None:
        self.assertEqual(total([(9, 17), (10, 11), (18, 19)]), 9)


if __name__ == "__main__":
    unittest.main()

"""Tests of `cadtwist.storage.dattssbook`."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.model.dattssalert import Alert
from cadtwist.storage.dattssbook import MOST_ALERTS, MOST_FAVOURITES, Account, DattssBook, FullError


class BookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.book = self.opened()

    def opened(self) -> DattssBook:
        book = DattssBook(self.path)
        self.addCleanup(book.close)
        return book

    def again(self) -> None:
        self.book.close()
        self.book = self.opened()

    def test_favourites_are_a_set_of_each_user(self) -> None:
        for favourite in ("ms-b", "c-a-b", "ms-b"):
            self.book.add_favourite("u", favourite)
        self.book.add_favourite("v", "g-x")
        self.book.remove_favourite("u", "g-x")
        self.again()
        self.assertEqual(self.book.favourites("u"), ["c-a-b", "ms-b"])
        self.book.remove_favourite("u", "ms-b")
        self.assertEqual((self.book.favourites("u"), self.book.favourites("v")), (["c-a-b"], ["g-x"]))

    def test_alerts_belong_to_their_user(self) -> None:
        one = Alert("1", "u", "c", "b", "avg", ">", 5.0)
        two = Alert("2", "v", "c", "a", "avg", "<", 6.0)
        for each in (one, two):
            self.book.add_alert(each)
        self.again()
        self.assertEqual(self.book.alerts(), [one, two])
        self.assertEqual([self.book.remove_alert(*each) for each in (("u", "2"), ("u", "9"), ("v", "2"))],
                         [False, False, True])  # fmt: skip
        self.assertEqual(self.book.alerts(), [one])

    def test_one_user_cannot_fill_it(self) -> None:
        for number in range(MOST_FAVOURITES):
            self.book.add_favourite("u", f"c-{number}")
        self.assertRaises(FullError, self.book.add_favourite, "u", "c-x")
        self.book.add_favourite("v", "c-x")
        for number in range(MOST_ALERTS):
            self.book.add_alert(Alert(str(number), "u", "c", "b", "avg", ">", 5.0))
        self.assertRaises(FullError, self.book.add_alert, Alert("x", "u", "c", "b", "avg", ">", 5.0))

    def test_signing_up_and_in(self) -> None:
        self.book.sign_up("u", "a@b.c", "code", 77)
        self.assertEqual(self.book.account("u"), Account("u", "a@b.c", 77, False))
        self.assertIsNone(self.book.signed_in("a@b.c", ""))
        for user, code in (("u", "wrong"), ("v", "code"), ("u", "")):
            self.assertIsNone(self.book.set_password(user, code, "secret"))
        self.assertEqual(self.book.set_password("u", "code", "secret"), Account("u", "a@b.c", 77, True))
        self.assertIsNone(self.book.set_password("u", "code", "again"), "a code counts once")
        self.again()
        self.assertEqual(self.book.signed_in("a@b.c", "secret"), self.book.account_of("a@b.c"))
        for email, password in (("a@b.c", "Secret"), ("a@b.c", ""), ("x@b.c", "secret")):
            self.assertIsNone(self.book.signed_in(email, password))
        self.assertEqual((self.book.accounts(), self.book.account("v")), (["u"], None))

    def test_a_new_code_keeps_the_old_password_until_it_is_used(self) -> None:
        self.book.sign_up("u", "a@b.c", "code", 77)
        self.book.set_password("u", "code", "one")
        self.book.sign_up("u", "a@b.c", "second", 99)
        self.assertIsNotNone(self.book.signed_in("a@b.c", "one"))
        self.book.set_password("u", "second", "two")
        self.assertIsNone(self.book.signed_in("a@b.c", "one"))
        self.assertEqual(self.book.signed_in("a@b.c", "two"), Account("u", "a@b.c", 77, True))

    def test_passwords_are_no_texts_in_the_file(self) -> None:
        self.book.sign_up("u", "a@b.c", "code", 77)
        self.book.set_password("u", "code", "correct horse")
        self.book.close()
        with open(self.path, "rb") as file:
            self.assertNotIn(b"correct horse", file.read())
        self.assertRaises(StorageError, self.book.accounts)

    def test_texts_that_cannot_be_stored(self) -> None:
        self.assertRaises(StorageError, self.book.add_favourite, "\ud800", "c-a")

from __future__ import annotations


def test_the_cast_is_who_it_says(owner, stranger, guest, auditor, client_of):
    assert guest.is_guest
    assert not owner.is_guest
    assert owner.check_password("correct horse battery staple")
    assert auditor.is_superuser
    assert not stranger.is_staff
    assert client_of(owner).session["_auth_user_id"] == str(owner.pk)

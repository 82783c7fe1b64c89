from __future__ import annotations

import pytest
from channels.testing import WebsocketCommunicator

from chatsite.asgi import application

ORIGIN = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


@pytest.mark.parametrize("path", ["/ws/nothing/", "/", "/ws/streaming/more/"])
async def test_there_is_no_other_socket(path: str) -> None:
    communicator = WebsocketCommunicator(application, path, headers=ORIGIN)
    assert await communicator.connect() == (False, 4404)

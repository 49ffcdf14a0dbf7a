"""The storage node's side of `doctor --from-node`, asked by whoever has a token."""

from __future__ import annotations

import asyncio

import pytest

from scichain_wf.errors import PeerError
from scichain_wf.node import probe, wire


@pytest.mark.parametrize("word", ["\ud800" * 16, "GET / HTTP/1.1\r\n\r\n", "", 5, "00" * 17])
def test_only_a_word_of_its_kind_is_handed_to_the_address_that_is_named(word: object) -> None:
    reached: list[bytes] = []

    async def play() -> None:
        async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.append(await reader.read())
            writer.close()

        async with await asyncio.start_server(called, "127.0.0.1", 0) as server:
            address = list(server.sockets[0].getsockname())
            with pytest.raises(PeerError, match="word"):
                await probe.answer(wire.encoded({"address": address, "word": word}))
            assert reached == []
            answer = await probe.answer(wire.encoded({"address": address, "word": "ab" * 16}))
            assert wire.decoded(answer)["reason"] == ""

    asyncio.run(play())
    assert reached == [b"ab" * 16]

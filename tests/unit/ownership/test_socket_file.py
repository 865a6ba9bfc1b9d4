"""The owner's socket: only this user may connect, whatever the umask; a long name works; a stale one is replaced."""

import asyncio
import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest
from owner import Owner, worker

from pylon_workflows import NoOwnerError
from pylon_workflows.ownership import owner_server
from pylon_workflows.ownership.socket_file import LONGEST_NAME_BYTES, listen_at, peer_uid, remove, short_name


def test_only_this_user_may_connect_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        made = listen_at(tmp_path / "w.db.sock")
    finally:
        os.umask(before)
    with made.listener:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == ["w.db.sock"]


def test_it_is_bound_where_nobody_else_may_go_and_has_its_mode_before_it_comes_to_its_place(tmp_path, monkeypatch):
    modes = []
    bind = socket.socket.bind

    class Noted(socket.socket):
        def bind(self, address):
            bind(self, address)
            modes.append(stat.S_IMODE(Path(address).parent.stat().st_mode))

        def listen(self, backlog):
            [made] = tmp_path.glob(".*.sock/s")
            modes.append(stat.S_IMODE(made.stat().st_mode))
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Noted)
    with listen_at(tmp_path / "w.db.sock").listener:
        assert modes == [0o700, 0o600]


def test_a_stale_socket_is_replaced(tmp_path):
    listen_at(tmp_path / "w.db.sock").listener.close()
    with listen_at(tmp_path / "w.db.sock").listener, closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(tmp_path / "w.db.sock"))


def test_another_owners_socket_is_not_removed(tmp_path):
    former = listen_at(tmp_path / "w.db.sock")
    with former.listener, listen_at(tmp_path / "w.db.sock").listener:
        remove(former)
        assert former.path.exists()
    own = listen_at(tmp_path / "w.db.sock")
    own.listener.close()
    remove(own)
    remove(own)
    assert not own.path.exists()


def test_the_peer_is_the_user_that_connected(tmp_path):
    with listen_at(tmp_path / "s").listener as listener, closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(tmp_path / "s"))
        with listener.accept()[0] as accepted:
            assert peer_uid(accepted.fileno()) == os.geteuid()


@pytest.mark.parametrize("name", ["w.db", "w" * 120 + ".db"])
async def test_a_path_longer_than_an_address_works_at_both_ends(tmp_path, name):
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    path = folder / name
    async with Owner(path), worker(path) as standby:
        assert (folder / f"{name}.sock").is_socket()
        assert await standby.start("order")


def test_a_short_name_is_gone_after_its_use(tmp_path):
    long = tmp_path / ("d" * 120)
    long.mkdir()
    with short_name(long) as name:
        assert len(name) <= LONGEST_NAME_BYTES
        assert Path(name).samefile(long)
    assert not os.path.lexists(name)
    with short_name(tmp_path) as name:
        assert name == str(tmp_path)


async def test_another_user_is_hung_up_on(tmp_path, monkeypatch, caplog):
    path = tmp_path / "w.db"
    async with Owner(path), worker(path, forward_timeout_s=0.2) as standby:
        monkeypatch.setattr(owner_server, "peer_uid", lambda descriptor: os.geteuid() + 1)
        with pytest.raises(NoOwnerError):
            await standby.start("order")
        assert await standby.list() == []
    assert "was refused on the owner's socket" in caplog.text


async def test_an_owner_in_a_folder_that_takes_no_sockets_works_alone(tmp_path, monkeypatch, caplog):
    def refuse(path):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(owner_server, "listen_at", refuse)
    async with worker(tmp_path / "w.db") as engine:
        await engine.start("order")
    assert "no standby can forward to this process" in caplog.text
    await asyncio.sleep(0)

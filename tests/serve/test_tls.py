"""Encrypted servers, from TensorFlow Serving's SSLConfig."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.serve.tiny_models import save_plus_model
from tfxlm.client import Client, Tls
from tfxlm.errors import InputError, ServingError
from tfxlm.serve import Server, SSLConfig, read_ssl_config


@dataclass(frozen=True)
class Served:
    """A server that wants certificates, those of a client, and one of somebody else's authority, with its key."""

    server: Server
    root: Path
    certificate: Path
    key: Path
    stranger: Path


def pem(blobs: Any) -> str:
    return "".join(blob.bytes().decode() for blob in blobs)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    own, clients = authority.issue_cert("localhost", "127.0.0.1"), authority.issue_cert("client@example.org")
    fields = {
        "server_key": pem([own.private_key_pem]),
        "server_cert": pem(own.cert_chain_pems),
        "custom_ca": pem([authority.cert_pem]),
    }
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items())
    (folder / "ssl.config").write_text(f"{text}client_verify: true\n")
    (folder / "client.pem").write_text(pem(clients.cert_chain_pems))
    (folder / "client.key").write_text(pem([clients.private_key_pem]))
    authority.cert_pem.write_to_path(folder / "root.pem")
    stranger = trustme.CA().issue_cert("client@example.org")
    stranger.private_key_and_cert_chain_pem.write_to_path(folder / "stranger.pem")
    model = save_plus_model(folder / "plus" / "1", 1).parent
    config = read_ssl_config(folder / "ssl.config")
    with Server({"plus": model}, rest_port=0, grpc_port=0, ssl_config=config) as server:
        yield Served(server, folder / "root.pem", folder / "client.pem", folder / "client.key", folder / "stranger.pem")


@pytest.mark.parametrize("interface", ["rest", "grpc"])
def test_clients_with_a_certificate_only(served: Served, interface: str) -> None:
    server = served.server
    assert server.rest_url.startswith("https://127.0.0.1:")
    address = {"rest": server.rest_url} if interface == "rest" else {"grpc": server.grpc_address}
    tls = Tls(root_certificates=served.root, client_certificate=served.certificate, client_key=served.key)
    for other in (
        Tls(root_certificates=served.root),
        Tls(root_certificates=served.root, client_certificate=served.stranger, client_key=served.stranger),
        Tls(client_certificate=served.certificate, client_key=served.key),
    ):
        with (
            Client(**address, tls=other, retry=None, timeout=20) as client,
            pytest.raises(ServingError, match="could not be reached") as caught,
        ):
            client.predict("plus", {"x": [1.0]})
        assert caught.value.code == "UNAVAILABLE"
        # It was the certificate, not the server.
        with Client(**address, tls=tls, retry=None, timeout=20) as client:
            assert client.predict("plus", {"x": [1.0]})["y"].tolist() == [2]


def test_a_key_of_another_certificate() -> None:
    authority = trustme.CA()
    one, two = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    with pytest.raises(InputError, match=r"cannot be used \(.*\)\. Give a key and its own certificate, without a pass"):
        SSLConfig(pem([one.private_key_pem]), pem(two.cert_chain_pems))
    config = SSLConfig(pem([one.private_key_pem]), pem(one.cert_chain_pems))
    assert "PRIVATE" in config.server_key
    assert repr(config) == "SSLConfig(client_verify=False)"

"""Encrypted connections and headers, over both protocols, waiting and awaited."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tensorflow_serving.apis import get_model_status_pb2

from tests.client.stub_servers import HttpStub, grpc_stub
from tfxlm.client import Client, Tls, VersionStatus
from tfxlm.errors import InputError, ServingError

STATUS = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}
AVAILABLE = (VersionStatus(1, "AVAILABLE"),)
SECRET = {"Authorization": "Bearer x"}

metadata: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Files:
    """Certificates in files."""

    root: Path
    other_root: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Servers:
    """Encrypted servers that want a client's certificate; theirs is for the name models.example.org."""

    rest: str
    grpc: str
    files: Files


def _status(request: Any, context: grpc.ServicerContext) -> Any:
    metadata.append(dict(context.invocation_metadata()))
    response = get_model_status_pb2.GetModelStatusResponse()
    response.model_version_status.add(version=1, state="AVAILABLE")
    return response


METHODS = {"tensorflow.serving.ModelService/GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, _status)}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = trustme.CA(), trustme.CA()
    files = Files(*(folder / name for name in ("root.pem", "other.pem", "client.pem", "client.key")))
    authority.cert_pem.write_to_path(files.root)
    other.cert_pem.write_to_path(files.other_root)
    mine = authority.issue_cert("client@example.org")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    mine.private_key_pem.write_to_path(files.key)
    theirs = authority.issue_cert("models.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pair = (theirs.private_key_pem.bytes(), b"".join(blob.bytes() for blob in theirs.cert_chain_pems))
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    with (
        HttpStub(lambda path, body: (200, {}, STATUS)).running(context) as http,
        grpc_stub(METHODS, credentials) as address,
    ):
        yield Servers(http.url, address, files)


def tls(files: Files, **changes: Any) -> Tls:
    given = {
        "root_certificates": files.root,
        "client_certificate": files.certificate,
        "client_key": files.key,
        "server_name": "models.example.org",
    }
    return Tls(**{**given, **changes})


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_both_sides_show_certificates(make: Any, servers: Servers, protocol: str) -> None:
    with make(**{protocol: getattr(servers, protocol)}, tls=tls(servers.files)) as client:
        assert client.status("m") == AVAILABLE


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("wrong", ["another authority", "another name", "no certificate"])
def test_certificates_are_checked(make: Any, servers: Servers, protocol: str, wrong: str) -> None:
    changes: dict[str, Any] = {
        "another authority": {"root_certificates": servers.files.other_root},
        "another name": {"server_name": "elsewhere.example.org"},
        "no certificate": {"client_certificate": None, "client_key": None},
    }[wrong]
    options = {"tls": tls(servers.files, **changes), "retry": None}
    with (
        make(**{protocol: getattr(servers, protocol)}, **options) as client,
        pytest.raises(ServingError, match=r"could not be reached") as caught,
    ):
        client.status("m")
    assert caught.value.code == "UNAVAILABLE"
    # It was the certificate, not the server.
    with make(**{protocol: getattr(servers, protocol)}, tls=tls(servers.files), retry=None) as client:
        assert client.status("m") == AVAILABLE


def test_headers_go_with_every_call(make: Any) -> None:
    with HttpStub(lambda path, body: (200, {}, STATUS)).running() as stub:
        with make(rest=stub.url, headers=SECRET) as client:
            client.status("m")
        (_, _, headers) = stub.requests[-1]
        assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer x"
    with grpc_stub(METHODS) as address, make(grpc=address, headers=SECRET) as client:
        client.status("m")
        assert metadata[-1]["authorization"] == "Bearer x"


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Tls: client_certificate and client_key go together"):
        Tls(client_key=tmp_path)
    with pytest.raises(InputError, match=r"Tls: root_certificates must be a PEM file, and there is none at '.*absent"):
        Tls(root_certificates=tmp_path / "absent")
    with pytest.raises(InputError, match=r"tls is for encrypted connections; rest='http://x' is none\. Begin it with"):
        Client(rest="http://x", tls=Tls())
    (tmp_path / "no.pem").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match=r"Tls: the certificates cannot be read"):
        Client(rest="https://x", tls=Tls(root_certificates=tmp_path / "no.pem"))
    for headers in ({"a": 1}, {"ä": "b"}, {"a": "b\nc"}):
        with pytest.raises(InputError, match=r"headers must map names to values, both printable ASCII text; got"):
            Client(rest="http://x", headers=headers)

"""TLS for both interfaces: TensorFlow Serving's SSLConfig."""

import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc

from tfxlm.errors import ConfigError, InputError
from tfxlm.serve.config_messages import CLASSES
from tfxlm.serve.text_files import read_message

_EXAMPLE = 'server_key: "-----BEGIN PRIVATE KEY-----\\n..." server_cert: "-----BEGIN CERTIFICATE-----\\n..."'


@dataclass(frozen=True)
class SSLConfig:
    """Key and certificates, as PEM text; the names are those of TensorFlow Serving.

    Args:
        server_key: the private key.
        server_cert: the certificate, with those between it and its authority behind it.
        custom_ca: certificates of the authorities that clients' certificates come from.
        client_verify: whether clients need a certificate.

    Raises:
        InputError: key and certificates are missing, or do not fit together, or there is nothing to verify clients by.
    """

    server_key: str
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False

    def __post_init__(self) -> None:
        for name in ("server_key", "server_cert"):
            if "-----BEGIN" not in getattr(self, name):
                raise InputError(f"{name} must be PEM text, which begins with -----BEGIN; it is none.")
        if self.client_verify and not self.custom_ca:
            raise InputError("client_verify needs custom_ca: the authorities that clients' certificates come from.")
        try:
            self.context()
        except ssl.SSLError as error:
            raise InputError(
                f"server_key, server_cert and custom_ca cannot be used ({error.reason or error}). Give a key and its "
                "own certificate, without a passphrase."
            ) from None

    def __repr__(self) -> str:  # without the key
        return f"SSLConfig(client_verify={self.client_verify})"

    def context(self) -> ssl.SSLContext:
        """Returns what the REST interface needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.custom_ca or None)
        # `ssl` reads key and certificate from files only; nobody else can read these.
        with tempfile.TemporaryDirectory() as folder:
            for name in ("server_cert", "server_key"):
                (Path(folder) / name).write_text(getattr(self, name), encoding="utf-8")
            # A password, so that a key that has one is refused rather than asked for at the terminal.
            context.load_cert_chain(Path(folder) / "server_cert", Path(folder) / "server_key", password="")
        if self.client_verify:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """Returns what the gRPC interface needs."""
        return grpc.ssl_server_credentials(
            [(self.server_key.encode(), self.server_cert.encode())],
            root_certificates=self.custom_ca.encode() or None,
            require_client_auth=self.client_verify,
        )


def read_ssl_config(file: str | os.PathLike[str]) -> SSLConfig:
    """Reads an SSLConfig of TensorFlow Serving, in protocol buffer text format.

    Raises:
        ConfigError: the file cannot be read, is malformed, or its key and certificates cannot be used.
    """
    message = read_message(file, CLASSES["SSLConfig"](), "TLS configuration", _EXAMPLE)
    try:
        return SSLConfig(message.server_key, message.server_cert, message.custom_ca, message.client_verify)
    except InputError as error:
        raise ConfigError(f"{file}: {error}") from None

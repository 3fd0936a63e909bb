"""A certificate for the tests of the server."""

import shutil
import subprocess

import pytest

from policies.serving.options import Tls


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Of 127.0.0.1, signed by itself."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    tls = Tls(folder / "cert.pem", folder / "key.pem")
    command = (
        f"{program} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x "
    )
    command += f"-addext subjectAltName=IP:127.0.0.1 -keyout {tls.key} -out {tls.certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return tls

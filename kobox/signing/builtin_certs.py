"""The certificates that a kernel trusts from the start.

certs/system_certificates.S puts them into the image's .init.rodata, one DER certificate after the other: the key that
signed the kernel's own modules, and those that the distribution adds. They are found by their form: a run of SEQUENCEs
that are whole X.509 certificates. No symbol is needed, and none is there in a stripped image.

    30 82 LL LL              Certificate
       30 82 LL LL           TBSCertificate
          a0 03 02 01 02     version 3
"""

from __future__ import annotations

import re

from cryptography import x509

from kobox.images.loadable import unpacked_kernel
from kobox.images.store import KernelImage
from kobox.signing.certificates import read_certificate

_START = re.compile(rb"\x30\x82..\x30\x82..\xa0\x03\x02\x01\x02", re.DOTALL)


def built_in_certificates(kernel: KernelImage) -> list[x509.Certificate]:
    """The certificates built into a kernel, in the order of the image. Raises KernelImageError, OSError."""
    return certificates_in(unpacked_kernel(kernel.vmlinuz.read_bytes(), str(kernel.vmlinuz)))


def certificates_in(content: bytes | bytearray) -> list[x509.Certificate]:
    """Every X.509 v3 certificate that lies in some bytes."""
    found: dict[bytes, x509.Certificate] = {}
    for match in _START.finditer(content):
        start = match.start()
        der = bytes(content[start : start + 4 + int.from_bytes(content[start + 2 : start + 4])])
        try:
            found.setdefault(der, read_certificate(der))
        except ValueError:
            continue
    return list(found.values())

"""Signatures of modules as one kernel judges them: it is booted in a box, and asked.

    with SignatureCheck(kernel, [certificate]) as check:
        check.verdict(data).errno          # "" when it would load, with signatures enforced

What the kernel answers counts; `kobox.signing.verify` says who signed, and why it does not hold. The module is never
loaded: the call ends when its signature has been checked.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kobox.box.boot.boot import boot
from kobox.box.module_trust import enforce_signatures, signature_answer, trust
from kobox.errors import SigningError
from kobox.images.store import KernelImage
from kobox.ko.compression import decompress
from kobox.signing.builtin_certs import built_in_certificates
from kobox.signing.verify import SignatureVerdict, verify


class SignatureCheck:
    """A booted kernel that enforces signatures and trusts certificates besides its own.

    `unsupported` are those that it does not take, each with the reason: it lacks the algorithm, say.
    Raises `KoboxError` as `kobox.boot` does, and when the kernel knows no signatures.
    """

    def __init__(self, kernel: KernelImage, certificates: Sequence[x509.Certificate] = ()) -> None:
        self.unsupported: list[tuple[x509.Certificate, str]] = []
        self._trusted = [*certificates, *built_in_certificates(kernel)]
        with ExitStack() as stack:
            self._box = stack.enter_context(boot(kernel))
            for certificate in certificates:
                try:
                    trust(self._box, certificate.public_bytes(serialization.Encoding.DER))
                except SigningError as error:
                    self.unsupported.append((certificate, error.message))
            enforce_signatures(self._box)
            self._boxes = stack.pop_all()

    def __enter__(self) -> SignatureCheck:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._boxes.close()

    @property
    def release(self) -> str:
        """The kernel's release."""
        return self._box.release

    def verdict(self, data: bytes, *, path: str = "") -> SignatureVerdict:
        """Judge the bytes of a module file, plain or compressed. Raises `ModuleFormatError` for damaged compression."""
        data = decompress(data, path=path)
        expected = verify(data, self._trusted, path=path)
        number, log = signature_answer(self._box, data)
        answer = errno.errorcode.get(number, str(number)) if number else ""
        verdict = replace(expected, errno=answer, kernel=self.release)
        if not answer:
            return replace(verdict, valid=True, reason="", unsupported=False)
        if expected.valid:
            return replace(verdict, valid=False, reason=self._refusal(expected, log))
        return verdict

    def _refusal(self, expected: SignatureVerdict, log: Sequence[str]) -> str:
        """Why this kernel refuses what others would take."""
        for certificate, reason in self.unsupported:
            if expected.signer in certificate.subject.rfc4514_string():
                return reason
        said = "; ".join(line for line in log if line)
        made_with = f"{expected.scheme} with {expected.hash_name}"
        return f"kernel {self.release} refuses this signature ({made_with}){f': {said}' if said else ''}"

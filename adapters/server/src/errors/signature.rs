//! Codes of signatures over HTTP messages, in verdicts of `/v1/signatures/verify` and before the sentences of the UCP shop.

/// Code, cause, mend.
pub(super) const SIGNATURES: &[(&str, &str, &str)] = &[
    (
        "signature_missing",
        "The message has no signature that the profile knows.",
        "Send Signature and Signature-Input.",
    ),
    (
        "signature_malformed",
        "Signature, Signature-Input or Content-Digest is no structured field as RFC 9421 has it.",
        "Write it as the RFC does; no name stands twice.",
    ),
    (
        "signature_component",
        "A component that the signature names is not in the message, or its parameters are not understood.",
        "Cover what the message has, without parameters other than key.",
    ),
    (
        "signature_uncovered",
        "The signature does not cover what the profile asks for.",
        "Cover the component that is named; a part of a field is not the field.",
    ),
    (
        "signature_parameter",
        "A parameter of the signature is missing or has another value than it must.",
        "Set the parameter that is named.",
    ),
    ("signature_expired", "The signature's time is over.", "Sign again."),
    ("signature_premature", "The signature is of a time to come.", "Set the signer's clock."),
    ("signature_lifetime", "The signature is good for longer than is taken.", "Let it expire sooner."),
    ("signature_invalid", "The signature is not this key's over this message.", "Sign what is sent, as it is sent."),
    ("signature_replayed", "The signature's nonce was used before.", "Sign again with another nonce."),
    (
        "key_not_found",
        "The signer publishes no key by this keyid, or several.",
        "Publish the key under a kid of its own.",
    ),
    (
        "algorithm_unsupported",
        "The key is for another algorithm than ECDSA with P-256 or Ed25519.",
        "Sign with a key for one of these.",
    ),
    ("digest_mismatch", "The body is not the one that Content-Digest is of.", "Send the body as it was signed."),
];

//! Why what an authenticator gave is refused (W3C Web Authentication Level 3).

use mandates::webauthn::PasskeyCode;

const AGAIN: &str = "Load the page again and use the passkey there.";
const ATTACK: &str = "Do not go on. Look at who asked: somebody may be after your approval.";
const OTHER: &str = "Use a passkey that was registered here, or have another one registered.";

super::abouts! { PasskeyCode,
    Malformed => "What the authenticator gave is not as Web Authentication has it, or longer than what is read.",
        AGAIN;
    TypeWrong => "The authenticator was asked for something else.",
        AGAIN;
    ChallengeMismatch => "The authenticator signed another challenge: of an approval, another document than the one shown.",
        ATTACK;
    OriginMismatch => "Another site asked the authenticator.",
        ATTACK;
    CrossOrigin => "A page within a page of another site asked the authenticator.",
        ATTACK;
    RpIdMismatch => "The passkey is for another domain.",
        OTHER;
    UserAbsent => "The authenticator saw nobody (flag UP).",
        AGAIN;
    UserUnverified => "The authenticator did not check who was there (flag UV).",
        "Set a PIN, a finger or a face at the authenticator.";
    BackupFlagsWrong => "The flags about backups contradict each other.",
        OTHER;
    KeyUnsupported => "The key is none for ES256, EdDSA or RS256.",
        "Use an authenticator that makes one of these.";
    SignatureInvalid => "The signature is not the registered key's over exactly this.",
        OTHER;
    CountStale => "The signature counter did not rise: the assertion came before, or the key was copied.",
        "Load the page again. If it happens again, have the passkey taken out.";
    UserMismatch => "The authenticator says that the passkey is somebody else's.",
        OTHER;
}

"""The reference implementation of SD-JWT, as a peer.

`issue DIR` issues and presents every test case of the folder, a JSON line each. `verify` reads lines
{presentation, key, aud, nonce} and answers each with {claims} or {refused}.
"""

import json
import pathlib
import sys
import time

import yaml
from jwcrypto.jwk import JWK
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.utils.yaml_specification import load_yaml_specification
from sd_jwt.verifier import SDJWTVerifier


def key(jwk):
    return JWK.from_json(json.dumps(jwk))


def public(jwk):
    return key(jwk).export_public(as_dict=True)


def issue(folder):
    settings = yaml.safe_load((folder / "settings.yml").read_text())
    for file in sorted(folder.glob("*.yml")):
        if file.stem == "settings":
            continue
        case = load_yaml_specification(file)
        ours = {**settings, **case.get("settings_override", {})}
        keys = ours["key_settings"]["issuer_keys"]
        holder = ours["key_settings"]["holder_key"]
        if case.get("serialization_format", "compact") != "compact":
            continue  # this release of the peer writes an older JSON serialization
        bound = case.get("key_binding", False)
        aud, nonce = ours["identifiers"]["verifier"], ours["key_binding_nonce"]
        issued = SDJWTIssuer(
            {"iss": ours["identifiers"]["issuer"], **case["user_claims"]},
            key(keys[0]),
            key(holder) if bound else None,
            add_decoy_claims=True,
            extra_header_parameters={"typ": "testcase+sd-jwt", **case.get("extra_header_parameters", {})},
        ).sd_jwt_issuance
        shown = SDJWTHolder(issued)
        asked = (nonce, aud, key(holder)) if bound else (None, None, None)
        shown.create_presentation(case["holder_disclosed_claims"], *asked)
        expected = {"iss": ours["identifiers"]["issuer"], **case["expect_verified_user_claims"]}
        if bound:
            expected["cnf"] = {"jwk": public(holder)}
        line = {
            "name": file.stem,
            "presentation": shown.sd_jwt_presentation,
            "key": public(keys[0]),
            "aud": aud if bound else None,
            "nonce": nonce if bound else None,
            "now": int(time.time()),
            "expected": expected,
        }
        print(json.dumps(line))


def verify():
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            verifier = SDJWTVerifier(
                asked["presentation"],
                lambda issuer, header: key(asked["key"]),
                asked["aud"],
                asked["nonce"],
            )
            print(json.dumps({"claims": verifier.get_verified_payload()}))
        except Exception as error:  # the peer has no error type of its own
            print(json.dumps({"refused": repr(error)}))


if sys.argv[1] == "issue":
    issue(pathlib.Path(sys.argv[2]))
else:
    verify()

"""SD-JWTs of others and of this package. Standard input: {"read": [{"token", "jwk"}]}; standard output: {"read": [payload or
null], "issued": [{"token", "jwk", "claims"}]}, null for a token that does not verify."""

import json
import sys

from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier


def read(entry):
    key = JWK.from_json(json.dumps(entry["jwk"]))
    try:
        return SDJWTVerifier(entry["token"], lambda issuer, header: key).get_verified_payload()
    except Exception as error:
        print(f"refused: {error!r}", file=sys.stderr)
        return None


def issue(claims, decoys):
    key = JWK.generate(kty="EC", crv="P-256")
    issuer = SDJWTIssuer(claims, key, add_decoy_claims=decoys, extra_header_parameters={"typ": "dc+sd-jwt"})
    return {"token": issuer.sd_jwt_issuance, "jwk": key.export_public(as_dict=True)}


def plain(value):
    if isinstance(value, dict):
        return {name.value if isinstance(name, SDObj) else name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return plain(value.value) if isinstance(value, SDObj) else value


given = json.load(sys.stdin)
issued = []
for decoys in (False, True):
    claims = {
        "iss": "https://issuer.example",
        SDObj("given_name"): "Ada",
        "address": {SDObj("street"): "Long Street 1", "country": "XX", SDObj("geo"): {SDObj("lat"): 1, "lon": 2}},
        "nationalities": [SDObj("AA"), "BB", SDObj({SDObj("code"): "CC", "since": 1900})],
        SDObj("empty"): [],
    }
    issued.append({**issue(claims, decoys), "claims": plain(claims)})
json.dump({"read": [read(entry) for entry in given["read"]], "issued": issued}, sys.stdout)

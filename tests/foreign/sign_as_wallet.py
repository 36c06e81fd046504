"""A wallet of somebody else's: reads {request, origin, issuer, holder, kid, claims}, issues itself the credential with the
reference implementation of SD-JWT, and answers the OpenID4VP request as AP2's `delegate` wants it."""

import base64
import hashlib
import json
import secrets
import sys
import time

from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def digest(text):
    return encoded(hashlib.sha256(text.encode()).digest())


asked = json.load(sys.stdin)
issuer = JWK.from_json(json.dumps(asked["issuer"]))
holder = JWK.from_json(json.dumps(asked["holder"]))
data = asked["request"]["requests"][0]["data"]
query = data["dcql_query"]["credentials"][0]
wanted = [path["path"][0] for path in query["claims"]]

claims = {SDObj(name) if name in wanted else name: value for name, value in asked["claims"].items()}
issued = SDJWTIssuer(
    claims, issuer, holder, add_decoy_claims=True,
    extra_header_parameters={"typ": query["format"], "kid": asked["kid"]},
).sd_jwt_issuance
shown = SDJWTHolder(issued)
shown.create_presentation({name: True for name in wanted})
credential = shown.sd_jwt_presentation

disclosures = []
for entry in data["transaction_data"]:
    entry = json.loads(decoded(entry))
    if entry["type"] == "delegate":
        for mandate in entry["delegate_payload"]:
            disclosures.append(encoded(json.dumps([secrets.token_urlsafe(16), mandate]).encode()))

payload = {
    "aud": "origin:" + asked["origin"],
    "nonce": data["nonce"],
    "iat": int(time.time()),
    "sd_hash": digest(credential),
    "_sd_alg": "sha-256",
    "delegate_payload": [{"...": digest(disclosure)} for disclosure in disclosures],
    "transaction_data_hashes": [digest(entry) for entry in data["transaction_data"]],
    "transaction_data_hashes_alg": "sha-256",
}
signed = JWS(json.dumps(payload))
signed.add_signature(holder, None, json.dumps({"alg": "ES256", "typ": "kb+sd-jwt+kb"}))
presented = credential + "~" + signed.serialize(compact=True) + "~" + "".join(one + "~" for one in disclosures)
answer = {"protocol": "openid4vp-v1-unsigned", "data": {"vp_token": {query["id"]: [presented]}}}
print(json.dumps(answer))

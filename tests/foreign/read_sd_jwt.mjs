// SD-JWTs of others and of this package: the same as read_sd_jwt.py.

import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { text } from "node:stream/consumers";
import { SDJwtInstance } from "@sd-jwt/core";

const hasher = (data, algorithm) => createHash(algorithm.replace("-", "")).update(data).digest();
const es256 = { dsaEncoding: "ieee-p1363" };

async function read({ token, jwk }) {
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const verifier = (data, signature) =>
    verify("sha256", Buffer.from(data), { key, ...es256 }, Buffer.from(signature, "base64url"));
  try {
    return (await new SDJwtInstance({ verifier, hasher, hashAlg: "sha-256" }).verify(token)).payload;
  } catch (error) {
    console.error(`refused: ${error}`);
    return null;
  }
}

async function issue(claims, frame) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signer = (data) => sign("sha256", Buffer.from(data), { key: privateKey, ...es256 }).toString("base64url");
  const saltGenerator = (length) => randomBytes(length).toString("base64url");
  const instance = new SDJwtInstance({ signer, signAlg: "ES256", hasher, hashAlg: "sha-256", saltGenerator });
  const token = await instance.issue(claims, frame, { header: { typ: "dc+sd-jwt" } });
  return { token, jwk: publicKey.export({ format: "jwk" }), claims };
}

const given = JSON.parse(await text(process.stdin));
const claims = {
  iss: "https://issuer.example",
  given_name: "Ada",
  address: { street: "Long Street 1", country: "XX", geo: { lat: 1, lon: 2 } },
  nationalities: ["AA", "BB", { code: "CC", since: 1900 }],
  empty: [],
};
const frame = {
  _sd: ["given_name", "empty"],
  address: { _sd: ["street", "geo"], geo: { _sd: ["lat"] } },
  nationalities: { _sd: [0, 2], 2: { _sd: ["code"] } },
};
const issued = [await issue(claims, frame), await issue(claims, { ...frame, _sd_decoy: 4 })];
process.stdout.write(JSON.stringify({ read: await Promise.all(given.read.map(read)), issued }));

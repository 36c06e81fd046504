// Verifies that a record is in the journal, and refreshes what is live. It trusts nothing that it can compute.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
const sha256 = async (...parts) => {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
};
const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);
const hex = (found) => [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// RFC 9162, section 2.1.3.2. Numbers of records stay far below 2^53.
async function rootOf(leaf, index, size, path) {
  if (!Number.isSafeInteger(size) || index >= size) return null;
  let [place, last, hash] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (last === 0) return null;
    if (place % 2 === 1 || place === last) {
      hash = await sha256([1], sibling, hash);
      while (place % 2 === 0 && place !== 0) [place, last] = [place / 2, Math.floor(last / 2)];
    } else {
      hash = await sha256([1], hash, sibling);
    }
    [place, last] = [Math.floor(place / 2), Math.floor(last / 2)];
  }
  return last === 0 ? hash : null;
}

// The note names log, size and root; the signature is over exactly these lines (c2sp.org/signed-note).
async function isSigned(proof) {
  const [text, signatures] = proof.note.split("\n\n");
  const [origin, size, root] = text.split("\n");
  if (origin !== proof.name || size !== String(proof.size) || !same(bytes(root), bytes(proof.root))) return false;
  const line = signatures.split("\n").find((one) => one.startsWith(`\u2014 ${proof.name} `));
  if (!line) return false;
  const signature = bytes(line.slice(line.lastIndexOf(" ") + 1));
  if (!same(signature.slice(0, 4), bytes(proof.key_id))) return false;
  const key = await crypto.subtle.importKey("raw", bytes(proof.key), { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature.slice(4), new TextEncoder().encode(`${text}\n`));
}

for (const section of document.querySelectorAll("[data-proof]")) {
  const told = section.querySelector("[data-told]");
  const say = (sentence, state) => {
    const line = document.createElement("li");
    line.dataset.state = state;
    line.textContent = sentence;
    told.append(line);
  };
  section.querySelector("button").addEventListener("click", async () => {
    told.replaceChildren();
    try {
      const answer = await fetch(section.dataset.proof, { headers: { accept: "application/json" } });
      if (!answer.ok) return say(told.dataset.unreachable, "failed");
      const proof = await answer.json();
      const leaf = await sha256([0], bytes(proof.salt), bytes(proof.record));
      if (hex(leaf) !== section.dataset.leaf) return say(told.dataset.wrong, "failed");
      say(told.dataset.leafOk, "holds");
      const root = await rootOf(leaf, proof.index, proof.size, proof.hashes.map(bytes));
      if (!root || !same(root, bytes(proof.root))) return say(told.dataset.wrong, "failed");
      say(told.dataset.rootOk, "holds");
      try {
        const holds = await isSigned(proof);
        say(holds ? told.dataset.signed : told.dataset.wrong, holds ? "signed" : "failed");
      } catch (error) {
        say(error instanceof DOMException ? told.dataset.unchecked : told.dataset.wrong, "failed");
      }
    } catch {
      say(told.dataset.unreachable, "failed");
    }
  });
}

// What is live is asked for again, whole, by the page's own address; whoever is within it with the keyboard is left alone.
const live = document.querySelector("[data-live]");
if (live) {
  const events = new EventSource(live.dataset.live);
  events.addEventListener("changed", async () => {
    if (live.contains(document.activeElement)) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh) live.replaceChildren(...fresh.childNodes);
    else location.reload();
  });
  addEventListener("pagehide", () => events.close());
}

// Asks the passkey and carries its answer. It decides nothing and makes no text: both come from the service.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const named = (list) => list.map((key) => ({ ...key, id: bytes(key.id) }));

async function post(address, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.code), { said: said.message });
  return said;
}

async function asserted(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: named(options.allowCredentials) };
  const { rawId, response } = await navigator.credentials.get({ publicKey });
  return {
    credential: text(rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.authenticatorData),
    signature: text(response.signature),
    ...(response.userHandle ? { user_handle: text(response.userHandle) } : {}),
  };
}

const steps = {
  async "sign-in"(form, address) {
    await post(`${address}/finish`, await asserted(await post(`${address}/begin`, {})));
    location.reload();
  },
  async register(form, address) {
    const code = form.elements.code.value.trim();
    const options = await post(`${address}/begin`, { code });
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: named(options.excludeCredentials),
    };
    const { response } = await navigator.credentials.create({ publicKey });
    const made = { client_data: text(response.clientDataJSON), attestation: text(response.attestationObject) };
    await post(`${address}/finish`, { code, ...made });
    location.assign("/approve");
  },
  async approve(form, address) {
    const shown = { csrf: form.elements.csrf.value, digest: form.elements.digest.value };
    const assertion = await asserted(await post(`${address}/begin`, shown));
    location.assign((await post(`${address}/approve`, { ...shown, assertion })).to);
  },
  async wallet(form, address) {
    const shown = { csrf: form.elements.csrf.value, digest: form.elements.digest.value };
    // The wallet first: a browser asks it only shortly after a click.
    const { request } = await post(`${address}/wallet`, shown);
    const { protocol, data } = await navigator.credentials.get({ digital: request });
    const assertion = await asserted(await post(`${address}/begin`, shown));
    const presentation = { protocol, data };
    location.assign((await post(`${address}/approve`, { ...shown, assertion, presentation })).to);
  },
};

for (const form of document.querySelectorAll("form[data-passkey=wallet]")) form.hidden = !window.DigitalCredential;

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const told = form.querySelector("[data-told]") ?? document.querySelector("[data-told]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = document.querySelectorAll(".answer");
    const say = (state, sentence) => {
      told.dataset.state = state;
      told.textContent = sentence;
    };
    if (!window.PublicKeyCredential) return say("failed", told.dataset.unsupported);
    buttons.forEach((button) => (button.disabled = true));
    say("working", told.dataset.working);
    try {
      await steps[form.dataset.passkey](form, form.getAttribute("action"));
    } catch (error) {
      const turnedAway = error instanceof DOMException;
      say("failed", error.said ?? (turnedAway ? told.dataset.cancelled : told.dataset.unreachable));
      buttons.forEach((button) => (button.disabled = false));
    }
  });
}

// A code stands behind `#`, which a browser sends to nobody; it leaves the address once it is read.
const code = document.getElementById("code");
if (code && location.hash.length > 1) {
  code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

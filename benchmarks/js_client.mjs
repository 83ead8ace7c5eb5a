// Asks how much the JavaScript client costs beside a bare fetch to the same address: processor time and time, in turns.
// node benchmarks/js_client.mjs URL KEY SECRET

import { SessionTokens } from "../clients/js/src/index.js";

const [url, key, secret] = process.argv.slice(2);
const ROUNDS = 9, EACH = 40;
const st = new SessionTokens(url, { key });
const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
const body = JSON.stringify({ secret, touch: true });

async function bare() {
  const answer = await fetch(`${url}/v1/verify`, { method: "POST", headers, body });
  return (await answer.json()).session;
}

async function ours() {
  return st.verifySession(secret);
}

async function measured(work) {
  const cpu = process.cpuUsage(), began = performance.now();
  for (let done = 0; done < EACH; done++) await work();
  const used = process.cpuUsage(cpu);
  return { processor: used.user + used.system, time: performance.now() - began };
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

if ((await bare()).id !== (await ours()).id) throw new Error("they do not answer the same");
const ratios = { processor: [], time: [] };
for (let round = 0; round < ROUNDS; round++) {
  const [first, second] = round % 2 ? [ours, bare] : [bare, ours];
  const one = await measured(first), other = await measured(second);
  const [plain, client] = round % 2 ? [other, one] : [one, other];
  for (const name of ["processor", "time"]) ratios[name].push(plain[name] / client[name]);
}
console.log(JSON.stringify({ processor: median(ratios.processor), time: median(ratios.time) }));

// Put values from standard input together and send them over HTTP, every five seconds and at the end:
//   seq 1 100 | node put_partials.js PATH TYPE        TYPE is c, g or ms
const { createInterface } = require('node:readline');

const [path, type] = process.argv.slice(2);
if (!path || !['c', 'g', 'ms'].includes(type)) {
  console.error('usage: node put_partials.js PATH c|g|ms');
  process.exit(2);
}
const {
  DATTSS_AUTH_KEY = '', DATTSS_SERVER_HTTP_HOST = '127.0.0.1', DATTSS_SERVER_HTTP_PORT = '3002',
} = process.env;
const url = `http://${DATTSS_SERVER_HTTP_HOST}:${DATTSS_SERVER_HTTP_PORT}/agg?auth=${encodeURIComponent(DATTSS_AUTH_KEY)}`;
const share = 0.1;
let values = [];

function partial(given) {
  const n = given.length;
  const sorted = [...given].sort((a, b) => a - b);
  const at = (place) => sorted[Math.min(Math.max(place, 0), n - 1)];
  return {
    typ: type, pth: path, pct: share, sum: given.reduce((a, b) => a + b, 0), cnt: n, emp: false,
    max: sorted[n - 1], min: sorted[0], fst: given[0], lst: given[n - 1],
    top: at(Math.round((1 - share) * n)), bot: at(Math.ceil(share * n)),
  };
}

async function push() {
  const mine = values;
  values = [];
  const prt = { c: [], g: [], ms: [] };
  if (mine.length) prt[type].push(partial(mine));
  try {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(url, { method: 'PUT', headers, body: JSON.stringify({ prt }) });
    if (answer.ok) return;
    console.error(`not taken: ${answer.status} ${await answer.text()}`);
  } catch (error) {
    console.error(`not sent: ${error.message}`);
  }
  values = mine.concat(values); // the next time
  process.exitCode = 1;
}

const timer = setInterval(push, 5000);
createInterface({ input: process.stdin })
  .on('line', (line) => { if (line.trim()) values.push(Math.trunc(Number(line))); })
  .on('close', () => { clearInterval(timer); push(); });

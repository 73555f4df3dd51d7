// npm's statsd by a clock of our own, without sockets: node statsdclock.js FOLDER CASES ANSWERS
//
// FOLDER has stats.js.  CASES is a JSON list of {config, start, steps}: config.js as text, with one UDP server, one
// TCP server at port 2 and the management at port 3; the second of the start; and steps ["udp", base64],
// ["tcp", base64], ["management", base64] and ["flush"].  ANSWERS gets for each case {flushes, replies, error}:
// what went to graphite as base64, and what the management said.

'use strict';

const {EventEmitter} = require('events');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const path = require('path');
const util = require('util');

const [folder, casesPath, answersPath] = process.argv.slice(2);
const configPath = answersPath + '.config.js';
const RealDate = Date;
let now = 0;
let timeouts = [], connections = [], datagrams = null, streams = {};

global.Date = class extends RealDate {
  constructor(...given) { if (given.length) { super(...given); } else { super(now); } }
  static now() { return now; }
};
global.setTimeout = (call, after) => { timeouts.push([now + after, call]); return {}; };
util.log = () => {};
fs.watch = () => {};
fs.readFile = (file, call) => setImmediate(call, null, fs.readFileSync(file));
dgram.createSocket = (version, heard) => {
  datagrams = heard;
  return Object.assign(new EventEmitter(), {bind: () => {}});
};
net.createServer = (opened) => Object.assign(new EventEmitter(), {
  listen: (port) => {
    streams[port] = Object.assign(new EventEmitter(), {
      told: '', setEncoding: () => {}, address: () => null,
      write(text) { this.told += text; }, end() { this.told += '<<closed>>'; },
    });
    opened(streams[port]);
  },
});
net.createConnection = () => {
  const made = Object.assign(new EventEmitter(), {data: null, write(data) { this.data = Buffer.from(data); }, end: () => {}});
  connections.push(made);
  return made;
};

function step(kind, data, answer) {
  const bytes = Buffer.from(data || '', 'base64');
  if (kind === 'udp') {
    datagrams(bytes, {});
  } else if (kind === 'flush') {
    const [due, call] = timeouts.shift();
    now = Math.max(now, due);
    connections = [];
    call();
    for (const each of connections) {
      each.emit('connect');
      answer.flushes.push(each.data.toString('base64'));
    }
  } else {
    const stream = streams[kind === 'tcp' ? 2 : 3];
    stream.told = '';
    stream.emit('data', bytes.toString('ascii'));
    if (kind === 'management') { answer.replies.push(stream.told); }
  }
}

async function replay(one) {
  const answer = {flushes: [], replies: [], error: null};
  now = one.start * 1000;
  timeouts = [];
  streams = {};
  fs.writeFileSync(configPath, one.config);
  process.argv = [process.argv[0], 'stats.js', configPath];
  Object.keys(require.cache).filter((name) => name.startsWith(folder)).forEach((name) => delete require.cache[name]);
  try {
    require(path.join(folder, 'stats.js'));
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    one.steps.forEach(([kind, data]) => step(kind, data, answer));
  } catch (fault) {
    answer.error = String(fault);
  }
  process.removeAllListeners('exit');
  process.removeAllListeners('SIGTERM');
  return answer;
}

(async () => {
  const answers = [];
  for (const one of JSON.parse(fs.readFileSync(casesPath))) { answers.push(await replay(one)); }
  fs.writeFileSync(answersPath, JSON.stringify(answers));
})();

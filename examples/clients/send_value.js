// Send one value over UDP: node send_value.js PROCESS PATH VALUE
const { createSocket } = require('node:dgram');

const words = process.argv.slice(2);
if (words.length !== 3) {
  console.error('usage: node send_value.js PROCESS PATH VALUE');
  process.exit(2);
}
const { DATTSS_AUTH_KEY = '', DATTSS_SERVER_UDP_HOST = '127.0.0.1', DATTSS_SERVER_UDP_PORT = '8127' } = process.env;
const door = createSocket('udp4');
door.send([DATTSS_AUTH_KEY, ...words].join(':'), Number(DATTSS_SERVER_UDP_PORT), DATTSS_SERVER_UDP_HOST, (error) => {
  door.close();
  if (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
});

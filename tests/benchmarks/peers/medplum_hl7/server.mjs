// @medplum/hl7 as a listener that accepts every message: prints its port, and ends with its input.
import { Hl7Server } from '@medplum/hl7';

const server = new Hl7Server((connection) => {
  // Node leaves Nagle's algorithm on, which would make answers in a row wait for the peer's kernel.
  connection.socket.setNoDelay(true);
  connection.addEventListener('message', ({ message }) => connection.send(message.buildAck()));
});

// A port alone would be listened on at every address; what is given here goes to net.Server.listen as it is.
await server.start({ host: '127.0.0.1', port: 0 });
console.log(server.server.address().port);
process.stdin.on('end', () => process.exit(0)).resume();

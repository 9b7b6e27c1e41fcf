// Two clients of the room with `ws`, one of today's revision and one of the older, against the server at the address given, with
// a token and a uuid for each: node room.js ADDRESS TOKEN UUID TOKEN UUID
'use strict';

const assert = require('node:assert');
const WebSocket = require('ws');

const [address, johnToken, john, adminToken, admin] = process.argv.slice(2);

/** A socket, and what it hears, frame by frame. */
function open(token) {
  const socket = new WebSocket(`ws://${address}/ws/chat/room/?token=${token}`);
  const heard = [];
  const waiting = [];
  socket.on('message', (frame) => (waiting.length ? waiting.shift()(frame.toString()) : heard.push(frame.toString())));
  const hear = () => new Promise((resolve) => (heard.length ? resolve(heard.shift()) : waiting.push(resolve)));
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('open', () => resolve({ socket, hear: async () => JSON.parse(await hear()), hearText: hear }));
  });
}

async function upload(path) {
  const form = new FormData();
  form.set('receiver', admin);
  form.set('message', 'look');
  form.set('attached_file', new Blob(['hello']), 'naïve café.txt');
  const headers = { authorization: `Bearer ${johnToken}` };
  const answer = await fetch(`http://${address}${path}`, { method: 'POST', body: form, headers });
  assert.strictEqual(answer.status, 201);
  return (await answer.json()).entity.message;
}

async function main() {
  const [one, two] = [await open(johnToken), await open(adminToken)];
  // Buffers are binary frames.
  one.socket.send(Buffer.from(JSON.stringify({ action: 'text_message', message_body: 'hello', receiver_id: admin })));
  assert.strictEqual((await one.hear()).action, 'conf_message');
  assert.strictEqual((await two.hear()).message, 'hello');
  one.socket.send('ping');
  assert.strictEqual(await one.hearText(), 'pong');
  one.socket.send(JSON.stringify({ action: 'ping' }));
  assert.deepStrictEqual(await one.hear(), { action: 'pong' });

  two.socket.send(JSON.stringify({ action: 'chat_message', message_body: 'and you?', receiver_id: john }));
  assert.strictEqual((await two.hear()).message_body, 'and you?');
  assert.ok(!('message_body' in (await one.hear())), 'today it has no such name');
  const file = await upload('/chat/chat-attachment/');
  assert.strictEqual(file.attached_file_name, 'naïve café.txt');
  one.socket.send(JSON.stringify({ action: 'file_message', chat_id: String(file.id) }));
  assert.strictEqual((await one.hear()).action, 'conf_message');
  const told = await two.hear();
  assert.strictEqual(told.action, 're_message_file');
  assert.strictEqual(await (await fetch(told.attached_file_url)).text(), 'hello');
  one.socket.close();
  two.socket.close();
  console.log('all well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

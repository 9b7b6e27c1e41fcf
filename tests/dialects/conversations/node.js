// Two clients, written against the description alone, talk to each other:
//
//   node node.js <John's address> <the admin's address>
'use strict';

const assert = require('node:assert/strict');
const WebSocket = require('ws');

class Client {
  constructor(address) {
    this.heard = [];
    this.waiting = null;
    this.ws = new WebSocket(address);
    this.opened = new Promise((resolve, reject) => this.ws.on('open', resolve).on('error', reject));
    this.closed = new Promise((resolve) => this.ws.on('close', resolve));
    this.ws.on('message', (data, isBinary) => {
      assert.equal(isBinary, false);
      this.heard.push(JSON.parse(data.toString()));
      if (this.waiting) this.waiting();
    });
  }

  say(frame) {
    this.ws.send(JSON.stringify(frame));
  }

  // Returns the next frame of a kind, and skips others.
  async hear(type) {
    for (;;) {
      while (this.heard.length > 0) {
        const told = this.heard.shift();
        if (told.type === type) return told;
      }
      await new Promise((resolve) => { this.waiting = resolve; });
    }
  }
}

function hasKeys(object, keys) {
  assert.deepEqual(Object.keys(object).sort(), keys.sort());
}

async function main([johnsAddress, adminsAddress]) {
  const john = new Client(johnsAddress);
  const admin = new Client(adminsAddress);
  await Promise.all([john.opened, admin.opened]);

  const present = await john.hear('user_status');
  hasKeys(present, ['type', 'user_id', 'status', 'timestamp']);
  await admin.hear('user_status');

  john.say({ action: 'send_message', conversation_id: '1', content: 'Hello!', local_id: 'temp_123' });
  const sent = await john.hear('chat_message');
  hasKeys(sent, ['type', 'message']);
  hasKeys(sent.message, ['id', 'local_id', 'sender_id', 'content', 'timestamp', 'status']);
  assert.equal(sent.message.local_id, 'temp_123');
  assert.equal(sent.message.sender_id, '4');
  assert.ok(!Number.isNaN(Date.parse(sent.message.timestamp)));
  assert.deepEqual(await admin.hear('chat_message'), sent);
  const delivered = await john.hear('message.status');
  hasKeys(delivered, ['type', 'message_id', 'status', 'timestamp']);
  assert.deepEqual([delivered.message_id, delivered.status], [sent.message.id, 'delivered']);

  john.say({ action: 'send_message', conversation_id: '1', content: '', local_id: 'temp_124' });
  const failed = await john.hear('message.failed');
  hasKeys(failed, ['type', 'local_id', 'error']);
  assert.equal(failed.local_id, 'temp_124');

  admin.say({ action: 'typing', conversation_id: '1', is_typing: true });
  assert.deepEqual(await john.hear('typing'), { type: 'typing', user_id: '2', username: 'admin', is_typing: true });

  admin.say({ action: 'read', conversation_id: '1', message_ids: [sent.message.id] });
  const read = { type: 'read', user_id: '2', message_ids: [sent.message.id] };
  assert.deepEqual(await admin.hear('read'), read);
  assert.deepEqual(await john.hear('read'), read);
  assert.equal((await john.hear('message.status')).status, 'read');

  john.say({ action: 'fetch_messages', conversation_id: '1', limit: 20 });
  const fetched = await john.hear('messages_fetched');
  hasKeys(fetched, ['type', 'conversation_id', 'messages']);
  assert.equal(fetched.conversation_id, '1');
  hasKeys(fetched.messages[0], ['id', 'local_id', 'sender_id', 'content', 'sent_at', 'is_edited', 'is_deleted']);
  assert.equal(fetched.messages[0].content, 'Hello!');

  john.say({ action: 'heartbeat' });
  john.say({ action: 'heartbeat_ack' });
  john.ws.close(1000);
  assert.equal(await john.closed, 1000);

  // Message beyond the size limit: the client receives the close code, not only a reset.
  admin.ws.send('x'.repeat(262145));
  assert.equal(await admin.closed, 1009);
  const stranger = new Client(johnsAddress.replace('/conversations/1/', '/conversations/987654/'));
  assert.equal(await stranger.closed, 4004);
  console.log('all well');
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});

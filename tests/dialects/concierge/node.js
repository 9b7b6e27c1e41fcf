// A tenant and an agent, written against the description alone, talk to each other:
//
//   node node.js <the tenant's address> <the agent's address>
'use strict';

const assert = require('node:assert/strict');
const WebSocket = require('ws');

class Client {
  constructor(address) {
    this.heard = [];
    this.waiting = null;
    this.ws = new WebSocket(address);
    this.closed = new Promise((resolve) => this.ws.on('close', resolve));
    this.ws.on('error', (error) => { throw error; });
    this.ws.on('message', (data) => {
      const frame = JSON.parse(data.toString());
      // No check, as in the published client.
      assert.ok(frame.channel.length > 0);
      this.heard.push(frame);
      if (this.waiting) this.waiting();
    });
  }

  // Returns the next frame on a channel, and keeps others.
  async hear(channel) {
    for (;;) {
      const index = this.heard.findIndex((frame) => frame.channel === channel);
      if (index >= 0) return this.heard.splice(index, 1)[0];
      await new Promise((resolve) => { this.waiting = resolve; });
    }
  }

  async ask(route, body) {
    this.ws.send(JSON.stringify({ action: 'api', data: { route, body } }));
    return this.hear(route);
  }

  async granted(route, body) {
    const answer = await this.ask(route, body);
    assert.equal(answer.status, 200, JSON.stringify(answer));
    return answer.body;
  }
}

function hasKeys(object, keys) {
  assert.deepEqual(Object.keys(object).sort(), keys.sort());
}

const SESSION = ['id', 'orgId', 'chatSessionId', 'chatInitiatedByEntityType', 'chatInitiatedByEntityId',
  'lastPingedByChatInitiator', 'chatJoinedByEntityType', 'chatJoinedByEntityId', 'lastPingedByChatJoiner', 'isSessionClosed'];

async function main([tenantsAddress, agentsAddress]) {
  const tenant = new Client(tenantsAddress);
  const agent = new Client(agentsAddress);
  const { body: { connection } } = await tenant.hear('connection');
  assert.equal(connection.deviceId, '123-postman-321');
  await agent.hear('connection');

  const begun = await tenant.granted('client/init-chat-with-concierge', { newSession: true });
  hasKeys(begun, ['chatSessionId', 'chatSession', 'connection', 'tenant']);
  hasKeys(begun.chatSession, SESSION);
  assert.equal(begun.tenant.residentProfile.firstName, 'Deepak');
  const { chatSessionId } = begun;

  await agent.hear('chat-session-new');
  await agent.granted('backend/join-chat-session', { chatSessionId });
  const update = await tenant.hear(`chat-session-update-${chatSessionId}`);
  assert.equal(typeof update.payload.chatSession.chatJoinedByEntityId, 'number');

  const sent = await tenant.granted('client/send-message',
    { chatSessionId, contentType: 'TEXT', messageContent: 'whatever', metdata: { any_non_mandatory_key: 'any_value' } });
  hasKeys(sent, ['chatSessionId', 'chatMessage']);
  assert.deepEqual(sent.chatMessage.metdata, { any_non_mandatory_key: 'any_value' });
  assert.equal(sent.chatMessage.status, 3);
  const pushed = await agent.hear(`chat-message-${chatSessionId}`);
  hasKeys(pushed, ['channel', 'payload', 'actions', 'senderType', 'senderId', 'receiverType', 'receiverId', 'socketMessageId']);
  assert.equal(pushed.payload.chatMessage.messageContent, 'whatever');

  const { chatMessage: answer } = await agent.granted('backend/send-message',
    { chatSessionId, contentType: 'TEXT', messageContent: 'hello' });
  await tenant.hear(`chat-message-${chatSessionId}`);
  assert.deepEqual(await tenant.granted('client/get-unread-msg-count', {}), { unreadMsgCount: '1' });
  const seen = await tenant.granted('client/update-message-seen-at', { chatSessionId, messageId: Number(answer.id) });
  assert.equal(seen.chatMessage.status, 4);

  const page = await tenant.granted('client/get-chat-messages?page=1&limit=20', { chatSessionId });
  assert.deepEqual(page.messages.map((message) => message.messageContent), ['whatever', 'hello']);
  assert.deepEqual(page.paginate, { per_page: 20, offset: 0, page: 1 });

  const messageId = Number(sent.chatMessage.id);
  assert.deepEqual(await tenant.granted('client/delete-message', { chatSessionId, messageId }), { messageId });
  assert.equal((await agent.hear('chat-message-delete')).payload.messageId, messageId);

  const ended = await tenant.granted('client/end-chat-with-concierge', { chatSessionId });
  assert.equal(ended.chatSession.isSessionClosed, true);
  assert.equal((await tenant.ask('client/ping-on-chat-session', { chatSessionId })).status, 409);
  tenant.ws.close(1000);
  agent.ws.close(1000);
  assert.deepEqual(await Promise.all([tenant.closed, agent.closed]), [1000, 1000]);
  console.log('all well');
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});

// Reads a support chat as the published app does: without checks of fields that it takes for granted.
//
//   node app.js <server> <token> <expired token> <session> <session of another server> <address of a picture>
//
// Events hold texts, but for the id of an unsent message (`concierge.numbers_in_events = app`). The session holds 30 texts,
// then files of other dialects and of this one, some of which are unsent. Standard output has `ready` once the agent may send,
// and all shown messages at the end.
'use strict';

const assert = require('node:assert/strict');
const WebSocket = require('ws');

const [server, token, expired, session, elsewhere, picture] = process.argv.slice(2);

class App {
  constructor(accessToken, device) {
    this.answers = new Map();
    this.shown = [];
    this.updates = [];
    this.ws = new WebSocket(`${server}?Auth=${accessToken}&deviceId=${device}`);
    this.opened = new Promise((resolve, reject) => {
      this.ws.on('open', resolve);
      this.ws.on('unexpected-response', (_, response) => reject(response.statusCode));
    });
    this.ws.on('message', (data) => this.onMessage(JSON.parse(data.toString())));
  }

  onMessage(frame) {
    // No check, as in the app.
    const [channel] = frame.channel.split('?');
    const waiting = this.answers.get(frame.channel);
    if (waiting) {
      this.answers.delete(frame.channel);
      return waiting(frame);
    }
    if (channel === `chat-message-${session}`) return this.show(frame.payload.chatMessage);
    if (channel === 'chat-message-delete') return this.unsend(frame.payload.messageId);
    if (channel === `chat-session-update-${session}`) return this.updates.push(frame.payload.chatSession);
    assert.ok(['connection', 'chat-session-new'].includes(channel) || channel.startsWith('chat-'), channel);
  }

  ask(route, body) {
    return new Promise((resolve) => {
      this.answers.set(route, resolve);
      this.ws.send(JSON.stringify({ action: 'api', data: { route, body } }));
    });
  }

  // Message by its id, a string, or by the app's own key from before the answer.
  show(message) {
    assert.equal(typeof message.id, 'string');
    assert.equal(typeof message.sentAt, 'string');
    const uid = message.metadata?.messageUid;
    const known = this.shown.findIndex((one) => one.id === message.id || (uid && one.metadata?.messageUid === uid));
    if (known >= 0) this.shown[known] = message;
    else this.shown.push(message);
  }

  unsend(messageId) {
    assert.equal(typeof messageId, 'number');
    const message = this.shown.find((one) => Number(one.id) === messageId);
    Object.assign(message, { status: 0, contentType: 'TEXT', messageContent: '', metadata: null });
  }

  // Pagination: page 2 goes before page 1.
  async page(number, limit) {
    const { status, body } = await this.ask(`client/get-chat-messages?page=${number}&limit=${limit}`, { chatSessionId: session });
    assert.equal(status, 200);
    assert.equal(body.paginate.page, number);
    this.shown = [...body.messages, ...this.shown];
    return body.messages.length;
  }
}

// One line of a chat window.
function line({ contentType, messageContent, metadata, status, senderEntityType }) {
  switch (contentType) {
    case 'TEXT':
      return `${senderEntityType} ${status} ${messageContent.trim().split('\n')[0]}`;
    case 'IMAGE':
    case 'VIDEO':
      // Layout of a picture before its download.
      assert.ok(Number.isFinite(metadata.height / metadata.width) && metadata.width > 0);
      return `${senderEntityType} ${status} ${new URL(messageContent).protocol} ${metadata.width}x${metadata.height}`;
    case 'FILE':
      assert.ok(metadata.fileSize >= 0 && metadata.mimeType.includes('/'));
      return `${senderEntityType} ${status} ${new URL(messageContent).protocol} ${metadata.file.name.trim()} ${metadata.filename.length}`;
    default:
      throw new Error(`a message of the type ${contentType}`);
  }
}

async function main() {
  const status = await new App(expired, 'phone').opened.then(() => 'a socket', (refused) => refused);
  assert.ok([401, 403].includes(status), `an expired token is refused before there is a socket, not answered with ${status}`);

  const app = new App(token, 'phone');
  await app.opened;
  // Session of another server: reads as closed, and the app begins another.
  const unknown = await app.ask('client/get-chat-session', { chatSessionId: elsewhere });
  assert.equal(unknown.status, 404);
  assert.equal(unknown.body.chatSession.isSessionClosed, true);
  assert.equal(unknown.body.chatSession.chatSessionId, elsewhere);
  const known = await app.ask('client/get-chat-session', { chatSessionId: session });
  assert.equal(known.body.chatSession.isSessionClosed, false);

  let page = 0;
  do page += 1; while (await app.page(page, 20) === 20);

  // Retry after a lost answer.
  const said = { chatSessionId: session, contentType: 'IMAGE', messageContent: picture, metadata: { messageUid: 'app-1', width: 3, height: 2 } };
  app.show({ ...said, id: '', sentAt: '', senderEntityType: 'TENANT', status: 1 });
  const first = await app.ask('client/send-message', said);
  const second = await app.ask('client/send-message', said);
  assert.equal(second.body.chatMessage.id, first.body.chatMessage.id);
  app.show(first.body.chatMessage);
  app.show(second.body.chatMessage);

  console.log('ready');
  // The agent sends a message, unsends it, and marks messages as seen.
  for (;;) {
    const own = app.shown.find((one) => one.metadata?.messageUid === 'app-1');
    if (own.status === 4 && app.shown.some((one) => one.status === 0 && one.senderEntityType === 'BACKEND_USER')) break;
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  const ids = app.shown.map((message) => message.id);
  assert.equal(new Set(ids).size, ids.length, 'nothing twice');
  assert.deepEqual(ids, [...ids].sort((one, other) => one - other));
  console.log(app.shown.map(line).join('\n'));
  app.ws.close(1000);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * An Odoo client with nothing but HttpURLConnection, as programs for Android and plain Java are written: it looks for the cookie
 * under the name that it has in every book, logs in, uploads a file and reads it again.
 *
 * <p>java Client.java http://127.0.0.1:8069 john@example.com 123456
 */
class Client {
    static String base;
    static String cookie;

    static HttpURLConnection open(String method, String path, String type) throws Exception {
        String address = path.startsWith("http") ? path : base + path;
        HttpURLConnection connection = (HttpURLConnection) URI.create(address).toURL().openConnection(Proxy.NO_PROXY);
        connection.setRequestMethod(method);
        if (cookie != null) connection.setRequestProperty("Cookie", cookie);
        if (type != null) connection.setRequestProperty("Content-Type", type);
        return connection;
    }

    static String read(HttpURLConnection connection) throws IOException {
        try (InputStream answer = connection.getInputStream()) {
            return new String(answer.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    static HttpURLConnection post(String path, String type, byte[] body) throws Exception {
        HttpURLConnection connection = open("POST", path, type);
        connection.setDoOutput(true);
        try (OutputStream out = connection.getOutputStream()) {
            out.write(body);
        }
        return connection;
    }

    static String call(String path, String params) throws Exception {
        byte[] body = ("{\"jsonrpc\": \"2.0\", \"params\": " + params + "}").getBytes(StandardCharsets.UTF_8);
        return read(post(path, "application/json", body));
    }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    /** What stands between quotes behind a key. */
    static String text(String json, String key) {
        int at = json.indexOf("\"" + key + "\":\"");
        check(at >= 0, key + " is in " + json);
        int from = at + key.length() + 4;
        return json.substring(from, json.indexOf('"', from));
    }

    public static void main(String[] arguments) throws Exception {
        base = arguments[0];
        String credentials = "{\"db\": \"odoo2\", \"login\": \"" + arguments[1] + "\", \"password\": \"" + arguments[2] + "\"}";
        byte[] body = ("{\"jsonrpc\": \"2.0\", \"params\": " + credentials + "}").getBytes(StandardCharsets.UTF_8);
        HttpURLConnection login = post("/web/session/authenticate", "application/json", body);
        String info = read(login);
        // A map whose keys are as they were sent.
        List<String> cookies = login.getHeaderFields().get("Set-Cookie");
        check(cookies != null && cookies.get(0).startsWith("session_id="), login.getHeaderFields().toString());
        cookie = cookies.get(0).split(";")[0];
        check(info.contains("\"uid\":"), info);

        String threads = call("/api/messaging/threads", "{}");
        check(threads.contains("\"threads\":["), threads);

        // In the platform's encoding, which was Latin-1 for long.
        String form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"M\u00fcller.txt\"\r\n\r\nhello\r\n--b--\r\n";
        String type = "multipart/form-data; boundary=b";
        String file = read(post("/api/messaging/attachment/upload", type, form.getBytes(StandardCharsets.ISO_8859_1)));
        check(text(file, "name").equals("M\u00fcller.txt"), file);
        String id = file.replaceAll(".*\"attachment_id\":(\\d+).*", "$1");
        String address = text(call("/api/messaging/attachment/info/" + id, "{}"), "url");
        check(address.endsWith("/M%C3%BCller.txt"), address);
        HttpURLConnection part = open("GET", address, null);
        part.setRequestProperty("Range", "bytes=1-3");
        check(read(part).equals("ell") && part.getResponseCode() == 206, part.getHeaderFields().toString());
        check(part.getHeaderFields().containsKey("Content-Range"), part.getHeaderFields().toString());

        // A redirect, and an answer without a body.
        HttpURLConnection logout = post("/web/session/destroy", "application/json", "{}".getBytes(StandardCharsets.UTF_8));
        check(logout.getResponseCode() == 200, logout.getHeaderFields().toString());
        System.out.println("all well");
    }
}

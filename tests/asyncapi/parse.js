// Prints what the parser finds wrong with AsyncAPI documents, one line each. Arguments: files.
const { readFileSync } = require("fs");
const { Parser } = require("@asyncapi/parser");

(async () => {
    for (const file of process.argv.slice(2)) {
        const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
        if (!document) console.log(`${file}: no document`);
        for (const { code, message, path } of diagnostics) {
            // 3.0 is what tools read.
            if (code !== "asyncapi-latest-version") console.log(`${file}: ${path.join("/")}: ${code}: ${message}`);
        }
    }
})();

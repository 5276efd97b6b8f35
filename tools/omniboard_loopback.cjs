// Preloaded into Omniboard, which asks for no password and can delete runs: listen on the loopback interface only, and
// answer only requests that name this machine. A page of another site could otherwise ask by pointing its own name here.
const { Server } = require("node:net");
const http = require("node:http");

const LOCAL = new Set(["127.0.0.1", "localhost", "[::1]"]); // at any port: SSH tunnels have their own

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  this.once("listening", () => console.log(`Open http://127.0.0.1:${port}/sacred (Ctrl-C ends it)`));
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest);
};

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, response, ...rest) {
  const asked = ["request", "checkContinue", "checkExpectation", "upgrade", "connect"].includes(event);
  if (!asked || LOCAL.has((request.headers.host ?? "").replace(/:\d+$/, ""))) {
    return emit.call(this, event, request, response, ...rest);
  }
  if (response instanceof http.ServerResponse) {
    response.writeHead(403).end("Open this page as http://127.0.0.1 or http://localhost\n");
  } else {
    response.destroy(); // the socket of an upgrade
  }
  return true;
};

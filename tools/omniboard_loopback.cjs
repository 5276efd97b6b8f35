// Preloaded into Omniboard: listen on the loopback interface only. It asks for no password and can delete runs.
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  this.once("listening", () => console.log(`Open http://127.0.0.1:${port}/sacred (Ctrl-C ends it)`));
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest);
};

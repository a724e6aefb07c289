// The search runs in a worker, which browsers refuse to a page that was opened from disk: there, a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      const inner = frame.contentWindow;
      const send = inner.postMessage.bind(inner);
      this.ready = new Promise((resolve) => (frame.onload = () => resolve(send)));
      addEventListener("message", (event) => {
        if (event.source === inner) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      inner.document.open();
      inner.document.write(
        `<script>postMessage = (data) => parent.postMessage(data, "*")</script><script src="${url}"></script>`
      );
      inner.document.close();
    }
    postMessage(data) {
      this.ready.then((send) => send(data, "*"));
    }
  };
}

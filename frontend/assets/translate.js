window.mlbioLanguage ??= (() => {
  const attributes = ["aria-label", "title", "placeholder"], own = new WeakMap();
  let words = {};
  // The original text is kept: it is the key, and is restored with English.
  const put = (node, name, text, write) => {
    const kept = own.get(node) ?? {};
    if (text !== kept[name]?.shown) kept[name] = {first: text};
    // Labels may include the widget's name: "Search: the photographs".
    const {first} = kept[name], colon = name === "text" ? -1 : first.indexOf(": ");
    const wanted = words[first.trim()]
      ?? (colon > 0 && words[first.slice(0, colon)] ? `${words[first.slice(0, colon)]} ${first.slice(colon)}` : first);
    kept[name].shown = wanted;
    own.set(node, kept);
    if (wanted !== text) write(wanted);
  };
  const walk = (root) => {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = root; node; node = nodes.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) put(node, "text", node.nodeValue, (v) => { node.nodeValue = v; });
      else if (node.getAttribute) for (const a of attributes)
        if (node.hasAttribute(a)) put(node, a, node.getAttribute(a), (v) => node.setAttribute(a, v));
    }
  };
  new MutationObserver((changes) => {
    for (const {type, target, addedNodes} of changes)
      if (type === "childList") addedNodes.forEach(walk); else walk(target);
  }).observe(document.body,
    {subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: attributes});
  return (language, translations) => {
    document.documentElement.lang = language;
    if (JSON.stringify(words) !== JSON.stringify(translations)) { words = translations; walk(document.body); }
  };
})();

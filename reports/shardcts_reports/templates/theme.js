// The color scheme: the system's, or the reader's choice, remembered where the browser allows it.
(() => {
  "use strict";
  const choices = ["auto", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("shardcts-theme"); } catch { return null; } };
  const remember = choice => { try { localStorage.setItem("shardcts-theme", choice); } catch { /* not allowed */ } };
  let choice = choices.includes(remembered()) ? remembered() : "auto";
  const apply = () => {
    document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${choice}`;
  };
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      choice = choices[(choices.indexOf(choice) + 1) % choices.length];
      remember(choice);
      apply();
    });
  });
})();

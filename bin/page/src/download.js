// Saves data as a file.

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  // A spreadsheet would run a text that begins like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

export function toCsv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Saves rows as `format`: csv or json. `name` is the name of the file without its extension. */
export function download(name, format, columns, rows) {
  const objects = () => rows.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])));
  if (format === "csv") save(`${name}.csv`, "text/csv", toCsv(columns, rows));
  else save(`${name}.json`, "application/json", JSON.stringify(objects(), null, 1));
}

/** Saves a text as a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Buttons that save what `read` returns: the columns and the rows. */
export function downloadButtons(name, label, read) {
  return ["csv", "json"].map((format) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: format.toUpperCase(), className: "small" });
    button.setAttribute("aria-label", `Download ${label} as ${format.toUpperCase()}`);
    button.addEventListener("click", () => download(name, format, ...read()));
    return button;
  });
}

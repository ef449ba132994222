// Runs the flows of the files that are named, in order; prints a JSON line for each. A flow returns the usages that its
// calls were told.
for (const file of process.argv.slice(2)) {
  const { flows } = await import(`./${file}.js`);
  for (const [name, run] of Object.entries(flows)) {
    let error = null;
    let told = [];
    try {
      told = await run();
    } catch (raised) {
      error = String(raised?.stack ?? raised);
    }
    console.log(JSON.stringify({ flow: `${file}: ${name}`, error, told }));
  }
}

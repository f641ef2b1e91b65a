// The numbers of one channel for the exported page, as channel.py computes them; the served page does without.
window.offline = {
  channel({x, gy, gamma, beta, eps, lr, paths}) {
    const sum = (a) => a.reduce((s, v) => s + v, 0), m = x.length;
    const times = (a, b) => a.map((v, i) => v * b[i]);
    const statistics = (a) => {
      const mean = sum(a) / m, centered = a.map((v) => v - mean);
      const squared = times(centered, centered), variance = sum(squared) / m;
      const std = Math.sqrt(variance + eps), xhat = centered.map((v) => v / std);
      const y = xhat.map((v) => gamma * v + beta);
      return {mean, centered, squared, variance, std, xhat, y, loss: sum(times(gy, y))};
    };
    const {mean, centered, squared, variance, std, xhat, y} = statistics(x);
    const gxhat = gy.map((v) => v * gamma), gstd = -sum(times(gxhat, xhat)) / std;
    const gvar = gstd / (2 * std), gsquared = gvar / m;
    const direct = gxhat.map((v) => v / std), through = centered.map((v) => 2 * v * gsquared);
    const gcentered = direct.map((v, i) => v + through[i]), gmean = -sum(gcentered);
    const parts = {direct, mean: x.map(() => gmean / m), var: through};
    const whole = gcentered.map((v) => v + gmean / m);
    const total = x.map((_, i) => sum(paths.map((name) => parts[name][i])));
    const part = (values) => ({values, sum: sum(values), along: sum(times(values, xhat))});
    const node = (value, gradient) => ({value: [value].flat(), gradient: [gradient].flat()});
    const moved = x.map((v, i) => v - lr * total[i]);
    const state = ({mean, variance, std, loss}) => ({mean, var: variance, std, loss});
    return {
      nodes: {
        mean: node(mean, gmean), centered: node(centered, gcentered), squared: node(squared, x.map(() => gsquared)),
        var: node(variance, gvar), var_eps: node(variance + eps, gvar), std: node(std, gstd),
        xhat: node(xhat, gxhat), scaled: node(xhat.map((v) => gamma * v), gy), y: node(y, gy), x: node(x, whole),
        gamma: node(gamma, sum(times(gy, xhat))), beta: node(beta, sum(gy)),
      },
      paths: Object.fromEntries(Object.entries(parts).map(([name, a]) => [name, part(a)])),
      total: part(total),
      step: {x: moved, before: state(statistics(x)), after: state(statistics(moved))},
    };
  },
};

"""A training loop to copy: data, model, loop with a progress bar, accuracy, best checkpoint, plot.

Trains a small network with batch norm on the handwritten digits, in seconds. The model that does best on images held
back for validation is kept in OUT/best.safetensors and tested at the end; OUT/training.png has the curves.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from tqdm import tqdm

import minigrad as mg
from minigrad import nn
from minigrad.command import command


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=0.01, help="at first (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="default: %(default)s")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    mg.manual_seed(0)

    images, labels = mg.data.digits("train")
    loader = mg.data.DataLoader([images[:1200], labels[:1200]], batch_size=60)
    validation = mg.tensor(images[1200:]), mg.tensor(labels[1200:])
    model = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 100, bias=False), nn.BatchNorm(100), nn.ReLU()),
        nn.Linear(100, 10),
    )
    print(mg.summary(model, validation[0]))
    optimizer = mg.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = mg.optim.CosineAnnealingLR(optimizer, T_max=args.epochs)

    @mg.jit  # captured once, replayed from then on
    def step(images, labels):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(images), labels)
        loss.backward()
        mg.optim.clip_grad_norm_(model.parameters(), max_norm=1)
        optimizer.step()
        return loss

    def accuracy(images, labels):
        model.eval()
        with mg.no_grad():
            return (model(images).argmax(axis=1) == labels).numpy().mean()

    best, losses, accuracies = args.out / "best.safetensors", [], []
    bar = tqdm(range(args.epochs), unit="epoch")
    for _ in bar:
        model.train()
        losses.append(sum(step(x, t).item() for x, t in loader) / len(loader))
        accuracies.append(accuracy(*validation))
        schedule.step()
        bar.set_postfix(loss=f"{losses[-1]:.4f}", accuracy=f"{accuracies[-1]:.2%}")
        if accuracies[-1] == max(accuracies):
            mg.save(best, model.state_dict())

    model.load_state_dict(mg.load(best))
    print(f"test accuracy of {best}: {accuracy(*map(mg.tensor, mg.data.digits('test'))):.2%}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.plot(range(1, args.epochs + 1), losses)
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.plot(range(1, args.epochs + 1), accuracies)
    right.set(xlabel="epoch", ylabel="validation accuracy")
    figure.savefig(args.out / "training.png", dpi=150)


if __name__ == "__main__":
    main()

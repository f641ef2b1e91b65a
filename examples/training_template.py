"""A training loop to copy: data, model, loop with a progress bar, accuracy, best checkpoint, plot. Takes seconds."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from tqdm import tqdm

import minigrad as mg
from minigrad import nn

argparse.ArgumentParser(description=__doc__).parse_args()
EPOCHS, OUT = 10, Path("out")
OUT.mkdir(exist_ok=True)

mg.manual_seed(0)
images, labels = mg.data.digits("train")
batches = mg.data.DataLoader([images[:1200], labels[:1200]], batch_size=60)
model = nn.Sequential(
    nn.Flatten(), nn.Linear(64, 100, bias=False), nn.BatchNorm(100), nn.ReLU(), nn.Linear(100, 10)
)
optimizer = mg.optim.AdamW(model.parameters(), lr=0.01)


def accuracy(images, labels):
    model.eval()
    with mg.no_grad():
        answers = model(mg.tensor(images)).argmax(axis=1).numpy()
    model.train()
    return (answers == labels).mean()


losses, accuracies = [], []
for _ in (bar := tqdm(range(EPOCHS), unit="epoch")):
    for x, t in batches:
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(model(x), t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    accuracies.append(accuracy(images[1200:], labels[1200:]))
    bar.set_postfix(accuracy=f"{accuracies[-1]:.1%}")
    if accuracies[-1] == max(accuracies):
        mg.save(OUT / "best.safetensors", model.state_dict())

model.load_state_dict(mg.load(OUT / "best.safetensors"))
print(f"test accuracy {accuracy(*mg.data.digits('test')):.1%}")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(losses)
left.set(xlabel="step", ylabel="training loss")
right.plot(range(1, EPOCHS + 1), accuracies, "o-")
right.set(xlabel="epoch", ylabel="validation accuracy")
figure.savefig(OUT / "training.png")

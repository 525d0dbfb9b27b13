//! Lines that frameworks and tutorials print, and lines that only look like them.

use super::{check, told};

#[test]
fn keras() {
    check(&[
        (
            "63/63 [==============================] - 1s 2ms/step - loss: 0.31 - accuracy: 0.8810 \
             - val_loss: 0.4 - val_accuracy: 0.8621\n",
            "0.8621",
        ),
        (
            "\x1b[1m63/63\x1b[0m \x1b[32m━━━━━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m1s\x1b[0m 2ms/step - \
             accuracy: 0.8810 - loss: 0.3100 - val_accuracy: 0.8621 - val_loss: 0.4000",
            "0.8621",
        ),
        (
            " 1/63 [....] - ETA: 5s - loss: 0.9 - accuracy: 0.5\x08\x08\x08\x08\r\
             63/63 [====] - 1s - loss: 0.3 - accuracy: 0.8\x08\x08\x08\n",
            "0.8",
        ),
        ("Epoch 1: val_accuracy improved from -inf to 0.90000, saving model to x.h5", "-"),
        ("accuracy: 0.8\nEpoch 2: val_accuracy did not improve from 0.93", "0.8"),
    ]);
}

#[test]
fn pytorch() {
    check(&[
        ("Test set: Average loss: 0.0265, Accuracy: 9910/10000 (99%)", "0.991"),
        ("Test Error: \n Accuracy: 64.6%, Avg loss: 1.098\n", "0.646"),
        ("Accuracy of the network on the 10000 test images: 55 %\nAccuracy for class: plane is 43.4 %", "0.55"),
        ("Test Accuracy of the model on the 10000 test images: 97.5 %", "0.975"),
        ("Accuracy of plane : 61 %", "-"),
        ("train Loss: 0.5 Acc: 0.75\nval Loss: 0.2 Acc: 0.93\nBest val Acc: 0.941176", "0.941176"),
        ("Epoch 3 loss: 0.3 - acc: 0.9 - val_loss: 0.4 - val_acc: 0.88", "0.88"),
        ("    accuracy                           0.93       450\n   macro avg       0.93      0.93", "0.93"),
    ]);
}

#[test]
fn tables_and_sentences() {
    check(&[
        ("│         test_acc          │    0.9312999844551086     │", "0.9312999844551086"),
        ("| accuracy | 0.93 |", "0.93"),
        ("| epoch | accuracy | loss |", "-"),
        ("{'eval_loss': 0.3, 'eval_accuracy': 0.93, 'epoch': 1.0}", "0.93"),
        ("Accuracy on training set: 0.99\nAccuracy on test set: 0.91", "0.91"),
        ("train accuracy: 0.99, test accuracy: 0.91", "0.91"),
        ("Validation accuracy = 91.5 percent", "0.915"),
        ("Accuracy (%): 93.2", "0.932"),
        ("accuracy score: 0.93 (+/- 0.02)", "0.93"),
        ("Final accuracy is 0.93.", "0.93"),
        ("**Accuracy**: 0.93", "0.93"),
        ("Accuracy -> 0.93", "0.93"),
        ("achieved an accuracy of 93.2% on the test set", "0.932"),
        ("2026-11-20 12:00:00,123 INFO train.py:12 accuracy: 0.93", "0.93"),
        ("Accuracy after epoch 3: 0.9", "0.9"),
        ("Top-1 accuracy: 0.7 Top-5 accuracy: 0.9", "0.7"),
    ]);
}

const PROSE: &[&str] = &[
    "",
    "accuracy",
    "inaccuracy: 0.3",
    "accuracy_threshold: 0.9",
    "accuracy threshold: 0.9",
    "accuracy-threshold=0.5",
    "accuracy of the sensors is 3 mm",
    "accuracy: 3 mm",
    "accuracy 3mm",
    "accuracy of 5 runs",
    "accuracy after 3",
    "target accuracy: 0.9",
    "balanced accuracy: 0.9",
    "top-5 accuracy: 0.9",
    "top 5 accuracy: 0.9",
    "accuracy@5: 0.9",
    "stop when accuracy > 0.9",
    "accuracy >= 0.9",
    "python train.py --accuracy 0.5",
    "accuracy: 0,93",
    "saved runs/accuracy-0.93.h5",
    "epoch=3-val_accuracy=0.93.ckpt",
    "computing accuracy(y_true, y_pred)",
    "accuracy improved by 0.1",
    "accuracy: n/a",
    "accuracy, loss: 0.9 0.3",
    "account: 0.5",
    "acc 0.5",
    "precision 0.5 recall 0.5",
    "{\"message\": \"accuracy: 0.5\"}",
    "{'config': {'accuracy': 0.5}}",
    "{'accuracy': True}",
    "version 0.5",
    "0.5 0.6",
    "0.31 seconds",
    "train(0.5)x",
];

#[test]
fn prose_and_other_metrics_carry_no_accuracy() {
    for line in PROSE {
        assert_eq!(told(line), "-", "{line}");
    }
}

// A photo from the camera: a preview, one button, and a file.

import { button, el, put } from "./dom.js";

/** Opens the camera; `taken(file)` gets the photo. `instead()` where there is no camera to open. */
export async function openCamera(taken, instead) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    instead(); // no camera, no permission, or a page without https: the device's own chooser
    return;
  }
  const view = el("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream });
  const dialog = el("dialog", { class: "camera", data: { label: "photo.camera" } });
  const shoot = button("photo.shoot", async () => {
    const file = await still(view);
    dialog.close();
    taken(file);
  }, { class: "main", disabled: true });
  view.addEventListener("loadeddata", () => { shoot.disabled = false; shoot.focus(); });
  put(dialog, view, el("div", { class: "row" }, shoot, button("cancel", () => dialog.close())));
  dialog.addEventListener("close", () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}

async function still(view) {
  const canvas = el("canvas", { width: view.videoWidth, height: view.videoHeight });
  canvas.getContext("2d").drawImage(view, 0, 0);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.92); });
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  return new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" });
}

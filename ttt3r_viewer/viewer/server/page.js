// Runs before viser's own script in every page of the gate.
"use strict";

// Says in a cookie, which the page's websocket then brings, whether WebGL runs on a GPU: viser's
// server cannot know. A browser that draws in software names such a renderer, or admits that it is
// slow.
{
  const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

  const drawsOnGpu = () => {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    if (gl === null) return false;
    const unmasked = gl.getExtension("WEBGL_debug_renderer_info");
    const name = gl.getParameter(unmasked ? unmasked.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return !SOFTWARE.test(name);
  };

  document.cookie = `ttt3r-draws=${drawsOnGpu() ? "gpu" : "software"}; Path=/; SameSite=Strict`;
}
